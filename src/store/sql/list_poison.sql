-- list_poison: $1 workspace, $2 path (null: all), $3 the first id, $4 the id before which, $5 limit. Jobs that were given up because
-- their workers died of them, newest first: why, and as what they were started again.
select d.id as "id", d.version_id as "versionId", v.path as "path", v.kind as "kind", d.tag as "tag", 'done' as "state",
       d.status as "status", 0 as "priority", d.worker_id as "workerId", d.lost as "lost", d.created_by as "createdBy",
       null::timestamptz as "runAt", d.started_at as "startedAt", d.completed_at as "completedAt", d.parent_id as "parentId",
       d.canceled_by as "canceledBy", d.canceled_reason as "canceledReason", d.deleted as "deleted",
       d.result -> 'error' as "error",
       (select array_agg(r.job_id order by r.job_id) from job_replay r where r.replay_of = d.id) as "replayedAs"
  from job_done d join flow_version v on v.id = d.version_id
 where d.workspace_id = $1 and d.status = 'failure' and d.lost > 0 and d.result -> 'error' ->> 'name' = 'PoisonJob' and d.part is null
   and ($2::text is null or v.path = $2)
   and d.id >= coalesce($3::uuid, '00000000-0000-0000-0000-000000000000')
   and ($4::uuid is null or d.id < $4)
 order by d.id desc
 limit $5;
