-- release_jobs: $1 worker_id, $2 json [{id, epoch, run_in_ms, wanted, seen, waits: [{key, ms, …}, …]}, …]: give jobs back, to be
-- claimed again at once (run_in_ms null), parked for so long, or waiting for `wanted` signals more than they had (`seen`), for so
-- long (run_in_ms null: for ever), by the database's clock: a worker's own may be wrong. A wait keeps the time it was first given; those that are over are forgotten. A job
-- with signals that its worker has not seen does not wait. Their journal is written before. Returns those given back, with their tags.
with back as materialized (
  select id, epoch, run_in_ms, wanted, seen, waits
    from json_to_recordset($2) as b (id uuid, epoch integer, run_in_ms bigint, wanted integer, seen integer, waits json)
), released as (
  update job
     set state = case when job.signals > back.seen or back.run_in_ms is null and back.wanted = 0 then 'ready'::job_state
                      when back.wanted > 0 then 'waiting' else 'parked' end,
         run_at = case when job.signals > back.seen then null else clock_timestamp() + back.run_in_ms * interval '1 ms' end,
         signals_wanted = back.seen + back.wanted,
         worker_id = null,
         epoch = job.epoch + 1
    from back
   where job.id = any (array[back.id]) and job.worker_id = $1 and job.epoch = back.epoch and job.state = 'running'
  returning job.id, job.tag, job.state
), waiting as materialized (
  select back.id, wait.key, wait.ms, wait.step, wait.wanted, wait.by, wait.groups, wait.module, wait.version
    from released join back on back.id = released.id,
         json_to_recordset(back.waits) as wait
           (key integer, ms float8, step integer, wanted integer, by text, groups text[], module text, version bigint)
   where back.waits is not null
), over as (
  delete from job_wait using released
   where job_wait.job_id = any (array[released.id])
     and not exists (select from waiting where waiting.id = any (array[job_wait.job_id]) and waiting.key = job_wait.key)
), kept as (
  insert into job_wait (job_id, key, until, step, wanted, answered_by, groups, module_id, version_id)
  select id, key, clock_timestamp() + ms * interval '1 ms', step, wanted, by, groups, module, version from waiting
  on conflict (job_id, key) do update set wanted = excluded.wanted
)
select id, tag, state = 'ready' as "ready" from released
