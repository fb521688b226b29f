-- claim_suspect: as claim_jobs ($1 worker, $3 its claim round), for one job of tags $2 that was lost $4 times or more.
with me as materialized (
  select id from worker where id = $1 and state = 'alive' and claim_round = $3 for share
), picked as materialized (
  select id, run_at from job
   where tag = any ($2::text[]) and state = 'ready' and lost > 0 and lost >= $4 and exists (select from me)
   order by tag, id -- as job_lost has them: by id alone, job_pkey may be walked
   limit 1
     for no key update skip locked
)
update job
   set state = 'running', worker_id = $1, epoch = job.epoch + 1, run_at = null,
       started_at = coalesce(started_at, clock_timestamp())
  from picked
 where job.id = any (array[picked.id])
returning job.id, job.version_id, job.epoch, job.args, job.created_by, job.waiter, job.lost, job.journaled, job.canceled_by,
          job.trace, job.signals, job.part, picked.run_at is not null as waited
