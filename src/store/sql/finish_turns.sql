-- finish_turns: as finish_waited, for jobs that may have a turn: it is passed on. (Parts have none.) Rows with a tag: jobs of it are ready now.
with done as materialized (
  select id, epoch, status, coalesce(result, 'null') as result, steps, delete_s, whole_s
    from json_to_recordset($2) as d
         (id uuid, epoch integer, status text, result json, steps json, delete_s integer, whole_s integer)
), ours as (
  delete from job using done
   where job.id = done.id and job.worker_id = $1 and job.epoch = done.epoch and job.state = 'running'
  returning job.id, job.workspace_id, job.version_id, job.tag, job.worker_id, job.lost, job.args, job.created_by,
            job.started_at, job.parent_id, job.journaled, job.waiter, job.canceled_by, job.canceled_reason, job.trace,
            done.status, done.result, done.steps, done.delete_s, done.whole_s
), over as materialized (
  select coalesce(array_agg(id), '{}') as ids from ours -- an aggregate: see finish_waited
), needless as (
  update job
     set canceled_by = 'the job it is a part of', canceled_reason = 'that job is over',
         state = case when state = 'running' then state else 'ready' end, run_at = null
   where parent_id is not null and parent_id = any ((select ids from over)::uuid[]) and part is not null and canceled_by is null
  returning id, tag, state
), later as (
  insert into deletion (job_id, due_at, whole_s)
  select id, clock_timestamp() + delete_s * interval '1 s', whole_s from ours where delete_s is not null
), failed as (
  insert into failure (job_id)
  select ours.id from ours join workspace on workspace.id = ours.workspace_id
   where ours.status in ('failure', 'canceled') and ours.parent_id is null and workspace.error_handler is not null
), forgotten as (
  delete from job_journal using ours where ours.journaled and job_journal.job_id = ours.id
), no_signals as (
  delete from signal using ours where signal.job_id = ours.id
), no_waits as (
  delete from job_wait using ours where job_wait.job_id = ours.id
), kept as (
  insert into job_done (id, workspace_id, version_id, tag, status, worker_id, lost, args, result, steps, created_by,
                        started_at, parent_id, canceled_by, canceled_reason, trace)
  select id, workspace_id, version_id, tag, status, worker_id, lost, args, result, steps, created_by,
         started_at, parent_id, canceled_by, canceled_reason, trace
    from ours
)
select done.id, null::text as tag from done where not exists (select from ours where ours.id = done.id)
union all
select null, null
  from (
    select pg_notify('millrace_done_' || waiter,
                     case when octet_length(result::text) < 7900 then concat_ws(' ', id, status, result::text)
                          else concat_ws(' ', id, status) end)
      from ours where $3 and waiter is not null
  ) as told
union all
select null, null
  from (
    select pg_notify('millrace_work', '* ' || tag) from (select distinct tag from needless where state = 'ready') as ready
    union all
    select pg_notify('millrace_control', 'cancel ' || id) from needless where state = 'running'
  ) as told_of_parts
union all
select null, ready.tag
  from (select turn_end(array_agg(id), array_agg(started_at)) as tags from ours) as passed, unnest(passed.tags) as ready (tag)
