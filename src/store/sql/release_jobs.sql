-- release_jobs: $1 worker_id, $2 json [{id, epoch, run_at_ms}, …]: give jobs back, to be claimed again at once (run_at_ms
-- null) or parked until then. Their journal is written before. Returns tag of those made ready.
with back as materialized (
  select id, epoch, run_at_ms from json_to_recordset($2) as b (id uuid, epoch integer, run_at_ms bigint)
)
update job
   set state = case when back.run_at_ms is null then 'ready'::job_state else 'parked' end,
       run_at = to_timestamp(back.run_at_ms / 1000.0),
       worker_id = null,
       epoch = job.epoch + 1
  from back
 where job.id = back.id and job.worker_id = $1 and job.epoch = back.epoch and job.state = 'running'
returning job.tag
