-- release_jobs: $1 worker_id, $2 json [{id, epoch, run_in_ms}, …]: give jobs back, to be claimed again at once (run_in_ms
-- null) or parked for so long, by the database's clock: a worker's own may be wrong. Their journal is written before.
-- Returns those given back, with their tags.
with back as materialized (
  select id, epoch, run_in_ms from json_to_recordset($2) as b (id uuid, epoch integer, run_in_ms bigint)
)
update job
   set state = case when back.run_in_ms is null then 'ready'::job_state else 'parked' end,
       run_at = clock_timestamp() + back.run_in_ms * interval '1 ms',
       worker_id = null,
       epoch = job.epoch + 1
  from back
 where job.id = back.id and job.worker_id = $1 and job.epoch = back.epoch and job.state = 'running'
returning job.id, job.tag
