-- cancel_job: $1 workspace, $2 id, $3 who, $4 why. A job nobody runs is finished as canceled; a running one is marked for
-- its worker. Returns 'canceled' | 'asked' | 'finished', or no row (not there, or it moved meanwhile: ask again). Its turn, if it has
-- one, is passed on: `tags` have jobs that are ready now.
with gone as (
  delete from job
   where id = $2 and workspace_id = $1 and state in ('ready', 'parked', 'waiting') and (select turn_lock_of($2))
  returning id, workspace_id, version_id, tag, lost, args, created_by, started_at, parent_id, trace, waiter
), records as (
  delete from job_journal using gone where job_journal.job_id = gone.id returning n, record
), no_signals as (
  delete from signal using gone where signal.job_id = gone.id
), no_waits as (
  delete from job_wait using gone where job_wait.job_id = gone.id
), kept as (
  insert into job_done (id, workspace_id, version_id, tag, status, lost, args, result, steps, created_by, started_at,
                        parent_id, trace, canceled_by, canceled_reason)
  select id, workspace_id, version_id, tag, 'canceled', lost, args,
         json_build_object('error', json_build_object('name', 'Canceled', 'message', $4::text)),
         coalesce((select json_agg(record order by n) from records), '[]'), created_by, started_at, parent_id, trace, $3, $4
    from gone
), asked as (
  update job set canceled_by = $3, canceled_reason = $4
   where id = $2 and workspace_id = $1 and state = 'running'
  returning id
)
select 'canceled' as outcome, waiter, turn_end(array[id], array[started_at]) as tags from gone
union all select 'asked', null, null from asked
union all select 'finished', null, null from job_done where id = $2 and workspace_id = $1
