-- list_jobs: $1 workspace, $2 'all' | 'queue' | 'completed', $3 json of filters (each optional), $4 limit, $5 offset;
-- newest first (list_jobs_oldest: the other way round). Without args, results and journals: a list stays small.
with asked as materialized (
  select * from json_to_record($3) as f
    (path text, path_start text, version_id bigint, created_by text, tag text, parent_id uuid, has_null_parent boolean,
     kinds text[], statuses text[], running boolean, worker_id integer, id_from uuid, id_before uuid, due boolean,
     started_before timestamptz, started_after timestamptz, completed_before timestamptz, completed_after timestamptz,
     args jsonb, result jsonb, waiting boolean)
), versions as materialized (
  select v.id, v.path, v.kind from flow_version v, asked
   where v.workspace_id = $1
     and (asked.path is null or v.path = asked.path)
     and (asked.path_start is null or starts_with(v.path, asked.path_start))
     and (asked.version_id is null or v.id = asked.version_id)
     and (asked.kinds is null or v.kind = any (asked.kinds))
), found as (
  (select j.id, j.version_id, v.path, v.kind, j.tag, j.state::text as state, null::text as status, j.priority, j.worker_id,
          j.lost, j.created_by, j.run_at, j.started_at, null::timestamptz as completed_at, j.parent_id, j.canceled_by,
          j.canceled_reason
     from job j join versions v on v.id = j.version_id, asked
    where j.workspace_id = $1 and $2 <> 'completed'
      and asked.statuses is null and asked.result is null and asked.completed_before is null and asked.completed_after is null
      and (asked.id_from is null or j.id >= asked.id_from) and (asked.id_before is null or j.id < asked.id_before)
      and (asked.created_by is null or j.created_by = asked.created_by)
      and (asked.tag is null or j.tag = asked.tag)
      and (asked.parent_id is null or j.parent_id = asked.parent_id)
      and (asked.has_null_parent is null or (j.parent_id is null) = asked.has_null_parent)
      and (asked.running is null or (j.state = 'running') = asked.running)
      and (asked.waiting is null or (j.state = 'waiting') = asked.waiting)
      and (asked.due is null or (j.state <> 'parked') = asked.due)
      and (asked.worker_id is null or j.worker_id = asked.worker_id)
      and (asked.started_before is null or j.started_at < asked.started_before)
      and (asked.started_after is null or j.started_at > asked.started_after)
      and (asked.args is null or j.args::jsonb @> asked.args)
    order by j.id desc limit $4::integer + $5::integer)
  union all
  (select j.id, j.version_id, v.path, v.kind, j.tag, 'done', j.status, 0::smallint, j.worker_id,
          j.lost, j.created_by, null, j.started_at, j.completed_at, j.parent_id, j.canceled_by,
          j.canceled_reason
     from job_done j join versions v on v.id = j.version_id, asked
    where j.workspace_id = $1 and $2 <> 'queue'
      and asked.running is not true and asked.waiting is not true
      and (asked.statuses is null or j.status = any (asked.statuses))
      and (asked.id_from is null or j.id >= asked.id_from) and (asked.id_before is null or j.id < asked.id_before)
      and (asked.created_by is null or j.created_by = asked.created_by)
      and (asked.tag is null or j.tag = asked.tag)
      and (asked.parent_id is null or j.parent_id = asked.parent_id)
      and (asked.has_null_parent is null or (j.parent_id is null) = asked.has_null_parent)
      and (asked.worker_id is null or j.worker_id = asked.worker_id)
      and (asked.started_before is null or j.started_at < asked.started_before)
      and (asked.started_after is null or j.started_at > asked.started_after)
      and (asked.completed_before is null or j.completed_at < asked.completed_before)
      and (asked.completed_after is null or j.completed_at > asked.completed_after)
      and (asked.args is null or j.args::jsonb @> asked.args)
      and (asked.result is null or j.result::jsonb @> asked.result)
    order by j.id desc limit $4::integer + $5::integer)
)
select id as "id", version_id as "versionId", path as "path", kind as "kind", tag as "tag", state as "state", status as "status",
       priority as "priority", worker_id as "workerId", lost as "lost", created_by as "createdBy", run_at as "runAt",
       started_at as "startedAt", completed_at as "completedAt", parent_id as "parentId", canceled_by as "canceledBy",
       canceled_reason as "canceledReason"
  from found
 order by id desc
 limit $4::integer offset $5::integer;
