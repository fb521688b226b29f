-- list_jobs: $1 workspace, $2 'all' | 'queue' | 'completed', $3 json of filters (each optional), $4 limit, $5 offset;
-- newest first (list_jobs_oldest: the other way round). Without args, results and journals: a list stays small.
-- Filters are read out of $3 where they are used: planned with its value, those that are not there vanish, and the
-- index that gives the order ends the scan at the limit.
with found as (
  (select j.id, j.version_id, j.tag, j.state::text as state, null::text as status, j.priority, j.worker_id, j.lost,
          j.created_by, j.run_at, j.started_at, null::timestamptz as completed_at, j.parent_id, j.canceled_by, j.canceled_reason,
          null::text as deleted
     from job j
    where j.workspace_id = $1 and $2 in ('all', 'queue')
      and ($3::json ->> 'running' is null or (j.state = 'running') = ($3::json ->> 'running')::boolean)
      and ($3::json ->> 'waiting' is null or (j.state = 'waiting' and j.signals_wanted is not null) = ($3::json ->> 'waiting')::boolean)
      and ($3::json ->> 'due' is null or (j.state <> 'parked') = ($3::json ->> 'due')::boolean)
      and ($3::json ->> 'id_from' is null or j.id >= ($3::json ->> 'id_from')::uuid)
      and ($3::json ->> 'id_before' is null or j.id < ($3::json ->> 'id_before')::uuid)
      and ($3::json ->> 'created_by' is null or j.created_by = $3::json ->> 'created_by')
      and ($3::json ->> 'tag' is null or j.tag = $3::json ->> 'tag')
      and ($3::json ->> 'parent_id' is null or j.parent_id = ($3::json ->> 'parent_id')::uuid)
      and ($3::json ->> 'has_null_parent' is null or (j.parent_id is null) = ($3::json ->> 'has_null_parent')::boolean)
      and ($3::json ->> 'worker_id' is null or j.worker_id = ($3::json ->> 'worker_id')::integer)
      and ($3::json ->> 'started_before' is null or j.started_at < ($3::json ->> 'started_before')::timestamptz)
      and ($3::json ->> 'started_after' is null or j.started_at > ($3::json ->> 'started_after')::timestamptz)
      and ($3::json ->> 'args' is null or j.args::jsonb @> ($3::json ->> 'args')::jsonb)
      and (($3::json ->> 'path' is null and $3::json ->> 'path_start' is null and $3::json ->> 'version_id' is null
            and $3::json ->> 'kinds' is null)
           or j.version_id in (
             select v.id from flow_version v
              where v.workspace_id = $1
                and ($3::json ->> 'path' is null or v.path = $3::json ->> 'path')
                and ($3::json ->> 'path_start' is null or starts_with(v.path, $3::json ->> 'path_start'))
                and ($3::json ->> 'version_id' is null or v.id = ($3::json ->> 'version_id')::bigint)
                and ($3::json ->> 'kinds' is null or v.kind = any (string_to_array($3::json ->> 'kinds', ',')))))
    order by j.id desc limit $4::integer + $5::integer)
  union all
  (select d.id, d.version_id, d.tag, 'done', d.status, 0::smallint, d.worker_id, d.lost,
          d.created_by, null, d.started_at, d.completed_at, d.parent_id, d.canceled_by, d.canceled_reason, d.deleted
     from job_done d
    where d.workspace_id = $1 and $2 in ('all', 'completed')
      and ($3::json ->> 'statuses' is null or d.status = any (string_to_array($3::json ->> 'statuses', ',')))
      and ($3::json ->> 'completed_before' is null or d.completed_at < ($3::json ->> 'completed_before')::timestamptz)
      and ($3::json ->> 'completed_after' is null or d.completed_at > ($3::json ->> 'completed_after')::timestamptz)
      and ($3::json ->> 'result' is null or d.result::jsonb @> ($3::json ->> 'result')::jsonb)
      and ($3::json ->> 'id_from' is null or d.id >= ($3::json ->> 'id_from')::uuid)
      and ($3::json ->> 'id_before' is null or d.id < ($3::json ->> 'id_before')::uuid)
      and ($3::json ->> 'created_by' is null or d.created_by = $3::json ->> 'created_by')
      and ($3::json ->> 'tag' is null or d.tag = $3::json ->> 'tag')
      and ($3::json ->> 'parent_id' is null or d.parent_id = ($3::json ->> 'parent_id')::uuid)
      and ($3::json ->> 'has_null_parent' is null or (d.parent_id is null) = ($3::json ->> 'has_null_parent')::boolean)
      and ($3::json ->> 'worker_id' is null or d.worker_id = ($3::json ->> 'worker_id')::integer)
      and ($3::json ->> 'started_before' is null or d.started_at < ($3::json ->> 'started_before')::timestamptz)
      and ($3::json ->> 'started_after' is null or d.started_at > ($3::json ->> 'started_after')::timestamptz)
      and ($3::json ->> 'args' is null or d.args::jsonb @> ($3::json ->> 'args')::jsonb)
      and (($3::json ->> 'path' is null and $3::json ->> 'path_start' is null and $3::json ->> 'version_id' is null
            and $3::json ->> 'kinds' is null)
           or d.version_id in (
             select v.id from flow_version v
              where v.workspace_id = $1
                and ($3::json ->> 'path' is null or v.path = $3::json ->> 'path')
                and ($3::json ->> 'path_start' is null or starts_with(v.path, $3::json ->> 'path_start'))
                and ($3::json ->> 'version_id' is null or v.id = ($3::json ->> 'version_id')::bigint)
                and ($3::json ->> 'kinds' is null or v.kind = any (string_to_array($3::json ->> 'kinds', ',')))))
    order by d.id desc limit $4::integer + $5::integer)
), page as (
  select * from found order by id desc limit $4::integer offset $5::integer
)
select p.id as "id", p.version_id as "versionId", v.path as "path", v.kind as "kind", p.tag as "tag", p.state as "state",
       p.status as "status", p.priority as "priority", p.worker_id as "workerId", p.lost as "lost", p.created_by as "createdBy",
       p.run_at as "runAt", p.started_at as "startedAt", p.completed_at as "completedAt", p.parent_id as "parentId",
       p.canceled_by as "canceledBy", p.canceled_reason as "canceledReason", p.deleted as "deleted"
  from page p join flow_version v on v.id = p.version_id
 order by p.id desc;
