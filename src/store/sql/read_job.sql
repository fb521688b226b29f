-- read_job: $1 workspace, $2 id. A job, active or finished, with its version. One snapshot, so a job that moves from job to
-- job_done is in exactly one of them.
with found as (
  select id, version_id, tag, state::text as state, null::text as status, priority, worker_id, lost, journaled, args,
         null::json as result, null::json as steps, created_by, run_at, started_at, null::timestamptz as completed_at,
         parent_id, part, canceled_by, canceled_reason, trace, null::text as deleted
    from job where id = $2 and workspace_id = $1
  union all
  select id, version_id, tag, 'done', status, 0::smallint, worker_id, lost, false, args,
         result, steps, created_by, null, started_at, completed_at,
         parent_id, part, canceled_by, canceled_reason, trace, deleted
    from job_done where id = $2 and workspace_id = $1
)
select f.id as "id", f.version_id as "versionId", f.tag as "tag", f.state as "state", f.status as "status",
       f.priority as "priority", f.worker_id as "workerId", f.lost as "lost", f.args as "args", f.result as "result",
       coalesce(f.steps, case when f.journaled then
         (select json_agg(j.record order by j.n) from job_journal j where j.job_id = f.id) end, '[]') as "steps",
       f.created_by as "createdBy", f.run_at as "runAt", f.started_at as "startedAt", f.completed_at as "completedAt",
       f.parent_id as "parentId", f.part as "part", f.canceled_by as "canceledBy", f.canceled_reason as "canceledReason", f.trace as "trace",
       f.deleted as "deleted",
       v.path as "path", v.kind as "kind", v.value as "value",
       case when f.status is null then
         (select json_object_agg(p.id, p.percent) from job_progress p
           where p.id between f.id and (left(f.id::text, 32) || 'ffff')::uuid) end as "progress",
       (select json_object_agg(s.key, s.value) from job_user_state s where s.job_id = f.id) as "userStates",
       replay.replay_of as "replayOf", replay.from_step as "fromStep", replay.from_slot as "fromSlot",
       (select array_agg(r.job_id order by r.job_id) from job_replay r where r.replay_of = f.id) as "replayedAs"
  from found f
  join flow_version v on v.id = f.version_id
  left join job_replay replay on replay.job_id = f.id;
