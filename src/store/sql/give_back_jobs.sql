-- give_back_jobs: the jobs of dead workers become ready again, one epoch and one loss on. Those lost more than $1 times are
-- poison: failed, and kept, with the workers that died of them; whoever waits for one is told, and their turns are passed on. Done once per dead worker
-- (dead → reaped), by whoever comes first, also after a crash in between.
with gone as (
  update worker set state = 'reaped' where state = 'dead' returning id
), back as (
  update job
     set state = 'ready', worker_id = null, epoch = job.epoch + 1, lost = job.lost + 1,
         lost_workers = array_append(job.lost_workers, job.worker_id)
    from gone
   where job.worker_id = gone.id and job.state = 'running' and job.lost < $1
  returning job.id, job.tag
), poison as (
  delete from job using gone
   where job.worker_id = gone.id and job.state = 'running' and job.lost >= $1
  returning job.id, job.workspace_id, job.version_id, job.tag, job.worker_id, job.lost, job.args, job.created_by,
            job.started_at, job.parent_id, job.trace, job.waiter, array_append(job.lost_workers, job.worker_id) as lost_workers
), records as (
  delete from job_journal using poison where job_journal.job_id = poison.id
  returning job_journal.job_id, job_journal.n, job_journal.record
), no_signals as (
  delete from signal using poison where signal.job_id = poison.id
), no_waits as (
  delete from job_wait using poison where job_wait.job_id = poison.id
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
)
select (select array_agg(id) from gone) as workers,
       (select count(*)::integer from back) as jobs_back,
       (select count(*)::integer from poison) as jobs_poisoned,
       (select array_agg(id) from (select id from back limit 20) as few) as back_ids,
       (select array_agg(id) from (select id from poison limit 20) as few) as poison_ids,
       (select array_agg(distinct tag)
          from (select tag from back
                union all
                select unnest((select turn_end(array_agg(id), array_agg(started_at)) from poison))) as ready) as tags,
       (select count(pg_notify('millrace_done_' || waiter, id || ' failure'))::integer from poison where waiter is not null) as told
