-- give_back_jobs: the jobs of dead workers become ready again, one epoch and one loss on. Those lost more than $1 times are
-- poison: failed, and kept, with the workers that died of them; whoever waits for one is told, and their turns are passed on. Done once per dead worker
-- (dead → reaped), by whoever comes first, also after a crash in between. A part is never deleted here: whoever claims one that
-- was lost too often, or whose job is poison, ends it by finish_waited.
with gone as (
  update worker set state = 'reaped' where state = 'dead' returning id
), dying as materialized (
  select job.id from job join gone on job.worker_id = gone.id where job.state = 'running' and job.lost >= $1 and job.part is null
), locked as materialized (
  select turn_lock_of(array(select id from dying)) -- before any row of job
), back as (
  update job
     set state = 'ready', worker_id = null, epoch = job.epoch + 1, lost = job.lost + 1,
         lost_workers = array_append(job.lost_workers, job.worker_id),
         canceled_by = coalesce(job.canceled_by, case when job.parent_id in (select id from dying) then 'the job it is a part of' end),
         canceled_reason = coalesce(job.canceled_reason, case when job.parent_id in (select id from dying) then 'that job is over' end)
    from gone
   where job.worker_id = gone.id and job.state = 'running' and (job.lost < $1 or job.part is not null)
     and exists (select from locked)
  returning job.id, job.tag
), needless as (
  update job
     set canceled_by = 'the job it is a part of', canceled_reason = 'that job is over',
         state = case when state = 'running' then state else 'ready' end, run_at = null
   where parent_id is not null and parent_id in (select id from dying) and part is not null and canceled_by is null
     and id not in (select id from back) and exists (select from locked)
  returning id, tag, state
), poison as (
  delete from job using gone
   where job.worker_id = gone.id and job.state = 'running' and job.lost >= $1 and job.part is null and exists (select from locked)
  returning job.id, job.workspace_id, job.version_id, job.tag, job.worker_id, job.lost, job.args, job.created_by,
            job.started_at, job.parent_id, job.trace, job.waiter, array_append(job.lost_workers, job.worker_id) as lost_workers
), records as (
  delete from job_journal using poison where job_journal.job_id = any (array[poison.id])
  returning job_journal.job_id, job_journal.n, job_journal.record
), no_signals as (
  delete from signal using poison where signal.job_id = any (array[poison.id])
), no_waits as (
  delete from job_wait using poison where job_wait.job_id = any (array[poison.id])
), kept as (
  insert into job_done (id, workspace_id, version_id, tag, status, worker_id, lost, args, result, steps, created_by,
                        started_at, parent_id, trace)
  select id, workspace_id, version_id, tag, 'failure', worker_id, lost + 1, args,
         json_build_object('error', json_build_object('name', 'PoisonJob',
           'message', format('the worker running it died %s times', lost + 1),
           'workers', (select json_agg(json_build_object('id', w.id, 'name', w.name, 'host', w.host, 'pid', w.pid,
                                                         'died_at', w.stopped_at) order by w.id)
                         from worker w where w.id = any (poison.lost_workers)))),
         coalesce((select json_agg(record order by n) from records where records.job_id = poison.id), '[]'),
         created_by, started_at, parent_id, trace
    from poison
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
)
select (select array_agg(id) from gone) as workers,
       (select count(*)::integer from back) as jobs_back,
       (select count(*)::integer from poison) as jobs_poisoned,
       (select array_agg(id) from (select id from back limit 20) as few) as back_ids,
       (select array_agg(id) from (select id from poison limit 20) as few) as poison_ids,
       (select array_agg(distinct tag)
          from (select tag from back
                union all
                select tag from needless where state = 'ready'
                union all
                select unnest((select turn_end(array_agg(id), array_agg(started_at)) from poison))) as ready) as tags,
       (select count(pg_notify('millrace_done_' || waiter, id || ' failure'))::integer from poison where waiter is not null) as told
