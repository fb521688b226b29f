-- reap_workers: declare workers dead and give their jobs back, in one statement that repeats the whole predicate. A worker
-- is dead when its lease is over, or when nobody holds its advisory lock ($2: the lock's class) and it has missed a
-- heartbeat ($3 ms). Jobs lost more than $4 times are poison: failed and kept. $1: now (null in production).
with gone as (
  update worker
     set state = 'dead', stopped_at = clock_timestamp()
   where state = 'alive'
     and (heartbeat_at < coalesce($1::timestamptz, clock_timestamp()) - lease_ms * interval '1 ms'
          or (hint_lock
              and heartbeat_at < coalesce($1::timestamptz, clock_timestamp()) - $3::integer * interval '1 ms'
              and not exists (
                select from pg_locks
                 where locktype = 'advisory' and classid = $2::integer::oid and objid = worker.id::oid and objsubid = 2
                   and database = (select oid from pg_database where datname = current_database()))))
  returning id
), back as (
  update job
     set state = 'ready', worker_id = null, epoch = job.epoch + 1, lost = job.lost + 1
    from gone
   where job.worker_id = gone.id and job.state = 'running' and job.lost < $4
  returning job.tag
), poison as (
  delete from job using gone
   where job.worker_id = gone.id and job.state = 'running' and job.lost >= $4
  returning job.id, job.workspace_id, job.version_id, job.tag, job.worker_id, job.lost, job.args, job.created_by,
            job.started_at, job.parent_id
), records as (
  delete from job_journal using poison where job_journal.job_id = poison.id
  returning job_journal.job_id, job_journal.n, job_journal.record
), kept as (
  insert into job_done (id, workspace_id, version_id, tag, status, worker_id, lost, args, result, steps, created_by,
                        started_at, parent_id)
  select id, workspace_id, version_id, tag, 'failure', worker_id, lost + 1, args,
         json_build_object('error', json_build_object('name', 'PoisonJob',
           'message', format('the worker running it died %s times', lost + 1))),
         coalesce((select json_agg(record order by n) from records where records.job_id = poison.id), '[]'),
         created_by, started_at, parent_id
    from poison
)
select (select array_agg(id) from gone) as workers,
       (select count(*)::integer from back) as jobs_back,
       (select count(*)::integer from poison) as jobs_poisoned,
       (select array_agg(distinct tag) from back) as tags
