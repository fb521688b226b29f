-- cancel_job: $1 workspace, $2 id, $3 who, $4 why. A job nobody runs is finished as canceled; a running one is marked for
-- its worker, and so is a part (src/store/parts.ts: whoever claims it ends it). Its own parts are asked to stop. Returns
-- 'canceled' | 'asked' | 'finished', or no row (not there, or it moved meanwhile: ask again). Its turn, if it has one, is passed on:
-- `tags` have jobs that are ready now.
with gone as (
  delete from job
   where id = $2 and workspace_id = $1 and state in ('ready', 'parked', 'waiting') and part is null
     and (select turn_lock_of(array[$2]::uuid[]))
  returning id, workspace_id, version_id, tag, lost, args, created_by, started_at, parent_id, trace, waiter
), records as (
  delete from job_journal using gone where job_journal.job_id = any (array[gone.id]) returning n, record
), no_signals as (
  delete from signal using gone where signal.job_id = any (array[gone.id])
), no_waits as (
  delete from job_wait using gone where job_wait.job_id = any (array[gone.id])
), kept as (
  insert into job_done (id, workspace_id, version_id, tag, status, lost, args, result, steps, created_by, started_at,
                        parent_id, trace, canceled_by, canceled_reason)
  select id, workspace_id, version_id, tag, 'canceled', lost, args,
         json_build_object('error', json_build_object('name', 'Canceled', 'message', $4::text)),
         coalesce((select json_agg(record order by n) from records), '[]'), created_by, started_at, parent_id, trace, $3, $4
    from gone
  returning id, workspace_id, version_id, steps, parent_id
), later as (
  insert into deletion (job_id, due_at, whole_s)
  select kept.id, clock_timestamp() + rule.first_s * interval '1 s', rule.whole_s
    from kept, deletion_of(kept.version_id, kept.steps) as rule
   where rule.first_s is not null
), failed as (
  insert into failure (job_id)
  select kept.id from kept join workspace on workspace.id = kept.workspace_id
   where kept.parent_id is null and workspace.error_handler is not null
), needless as (
  update job
     set canceled_by = 'the job it is a part of', canceled_reason = 'that job is over',
         state = case when state = 'running' then state else 'ready' end, run_at = null
   where parent_id is not null and parent_id in (select id from gone) and part is not null and canceled_by is null
  returning id, tag, state
), asked as (
  update job
     set canceled_by = $3, canceled_reason = $4, state = case when state = 'running' then state else 'ready' end,
         run_at = case when state = 'running' then run_at end
   where id = $2 and workspace_id = $1 and (state = 'running' or part is not null)
  returning id, tag, state
), told as materialized (
  select pg_notify('millrace_work', '* ' || tag)
    from (select tag from needless where state = 'ready' union select tag from asked where state = 'ready') as ready
  union all
  select pg_notify('millrace_control', 'cancel ' || id) from needless where state = 'running'
)
select 'canceled' as outcome, waiter, turn_end(array[id], array[started_at]) as tags
  from gone cross join (select count(*) from told) as sent
union all select 'asked', null, null from asked cross join (select count(*) from told) as sent
union all select 'finished', null, null from job_done where id = $2 and workspace_id = $1
