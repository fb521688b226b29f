-- finish_waited: as finish_jobs, for jobs with more to do at their end: those that have waited (their signals and times go with them),
-- that have parts (which are asked to stop), parts (src/store/parts.ts), those that may have a turn (src/store/turns.ts), which is passed on,
-- those of which something is deleted later (`delete_s` seconds after their end the first of it, `whole_s` all), and those that failed,
-- which the error handler of their workspace is started for. $2 has for a part also `end` (how it ended), `next` (the slot of the part
-- that may begin now; null: none) and `refuses` (no other may). Its job is told by a signal, and becomes ready if it has all it waits
-- for, or this one refuses.
with done as materialized (
  select id, epoch, status, coalesce(result, 'null') as result, steps, "end", next, refuses, delete_s, whole_s
    from json_to_recordset($2) as d
         (id uuid, epoch integer, status text, result json, steps json, "end" json, next integer, refuses boolean, delete_s integer,
          whole_s integer)
), locked as materialized (
  select turn_lock_of(array(select id from done)) -- before any row of job
), ours as (
  delete from job using done
   where job.id = any (array[done.id]) and job.worker_id = $1 and job.epoch = done.epoch and job.state = 'running' and exists (select from locked)
  returning job.id, job.workspace_id, job.version_id, job.tag, job.worker_id, job.lost, job.args, job.created_by,
            job.started_at, job.parent_id, job.parent_step, job.parent_slot, job.part, job.journaled, job.waiter, job.canceled_by,
            job.canceled_reason, job.trace, done.status, done.result, done.steps, done."end", done.next, done.refuses, done.delete_s,
            done.whole_s
), over as materialized (
  -- An aggregate: all of ours are gone before rows of job are changed below, some of which may be ours.
  select coalesce(array_agg(id), '{}') as ids from ours
), forgotten as (
  delete from job_journal using ours where ours.journaled and job_journal.job_id = any (array[ours.id])
), no_signals as (
  delete from signal using ours where signal.job_id = any (array[ours.id])
), no_waits as (
  delete from job_wait using ours where job_wait.job_id = any (array[ours.id])
), kept as (
  insert into job_done (id, workspace_id, version_id, tag, status, worker_id, lost, args, result, steps, created_by,
                        started_at, parent_id, parent_step, parent_slot, part, canceled_by, canceled_reason, trace)
  select id, workspace_id, version_id, tag, status, worker_id, lost, args, result, steps, created_by,
         started_at, parent_id, parent_step, parent_slot, part, canceled_by, canceled_reason, trace
    from ours
), later as (
  insert into deletion (job_id, due_at, whole_s)
  select id, clock_timestamp() + delete_s * interval '1 s', whole_s from ours where delete_s is not null
), failed as (
  insert into failure (job_id)
  select ours.id from ours join workspace on workspace.id = ours.workspace_id
   where ours.status in ('failure', 'canceled') and ours.parent_id is null and ours.part is null and workspace.error_handler is not null
), needless as (
  update job
     set canceled_by = 'the job it is a part of', canceled_reason = 'that job is over',
         state = case when state = 'running' then state else 'ready' end, run_at = null
   where parent_id is not null and parent_id = any ((select ids from over)::uuid[]) and part is not null and canceled_by is null
  returning id, tag, state
), ended as materialized (
  select parent_id, count(*)::integer as parts, bool_or(refuses) as refuses from ours where part is not null group by parent_id
), owners as materialized (
  select id from job where id = any (array(select parent_id from ended)) and id not in (select id from needless) order by id for no key update
), told as (
  update job
     set signals = signals + ended.parts,
         state = case when state = 'waiting' and (ended.refuses or signals + ended.parts >= signals_wanted) then 'ready'::job_state
                      else state end,
         run_at = case when state = 'waiting' and (ended.refuses or signals + ended.parts >= signals_wanted) then null else run_at end
    from ended, owners
   where owners.id = ended.parent_id and job.id = any (array[owners.id])
  returning job.id, job.tag, job.state, job.signals - ended.parts as before
), signaled as (
  insert into signal (job_id, seq, step, resume_id, approved, payload)
  select told.id, told.before + row_number() over (partition by told.id order by ours.parent_step, ours.parent_slot),
         -ours.parent_step, ours.parent_slot, not ours.refuses,
         ('{"end":' || ours."end"::text || ',"result":' || ours.result::text || '}')::json
    from told join ours on ours.parent_id = told.id and ours.part is not null
), freed as (
  update job
     set state = 'ready'
    from ours, over
   where job.parent_id is not null and job.parent_id = any (array[ours.parent_id]) and job.parent_step = ours.parent_step
     and job.parent_slot = ours.next and job.state = 'waiting' and job.started_at is null and job.canceled_by is null
     and not ours.parent_id = any (over.ids)
  returning job.tag
), passed as materialized (
  -- Of those that are told to stop none is given a turn, and no row of job is changed twice: that is over before.
  select turn_end(array_agg(id), array_agg(started_at)) as tags
    from ours, (select count(*) from needless) as a, (select count(*) from told) as b, (select count(*) from freed) as c
), joined as materialized (
  -- A part of none ran in the place of several.
  select turn_join(array_agg(id), array_agg(('{"end":' || "end"::text || ',"result":' || result::text || '}')::json)) as tags
    from ours, (select count(*) from passed) as a
   where part is not null and parent_id is null
)
select done.id from done where not exists (select from ours where ours.id = done.id)
union all
select null
  from (
    select pg_notify('millrace_done_' || waiter,
                     case when octet_length(result::text) < 7900 then concat_ws(' ', id, status, result::text)
                          else concat_ws(' ', id, status) end)
      from ours where $3 and waiter is not null
  ) as told_callers
union all
select null
  from (
    select pg_notify('millrace_work', '* ' || tag)
      from (select tag from freed
            union select tag from told where state = 'ready'
            union select tag from needless where state = 'ready'
            union select unnest(tags) from passed
            union select unnest(tags) from joined) as ready
  ) as told_workers
union all
select null
  from (
    select pg_notify('millrace_control', what || id)
      from (select 'signal ' as what, id from told where state = 'running'
            union all select 'cancel ', id from needless where state = 'running') as running
  ) as told_holders
