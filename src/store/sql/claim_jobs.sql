-- claim_jobs: take up to $3 ready jobs of tag $2 for worker $1. The epoch is spent here, so a crash is counted
-- without anyone reporting it. `no key update skip locked`: other claims are stepped over, not waited for.
with picked as materialized (
  select id from job
   where tag = $2 and state = 'ready'
   order by priority desc, id
   limit $3
     for no key update skip locked
)
update job
   set state = 'running', worker_id = $1, epoch = job.epoch + 1, started_at = coalesce(started_at, clock_timestamp())
  from picked
 where job.id = picked.id
returning job.id, job.version_id, job.epoch, job.args, job.created_by, job.waiter, job.lost, job.journaled, job.canceled_by
