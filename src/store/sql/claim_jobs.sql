-- claim_jobs: take up to $3 ready jobs of tag $2 with ids above $6 (see cursor.ts) for worker $1, in its claim round $4 (see end_claim_round).
-- The epoch is spent here, so a crash is counted without anyone reporting it. `no key update skip locked`: other claims are stepped
-- over, not waited for. Jobs that were lost $5 times are left to claim_suspect.
-- The share lock on the worker's row makes a claim and a declaration of death exclude each other: whoever reads the dead
-- worker's jobs afterwards sees all it ever claimed, and a dead worker claims nothing.
with me as materialized (
  select id from worker where id = $1 and state = 'alive' and claim_round = $4 for share
), picked as materialized (
  select ctid as at, run_at from job
   where tag = $2 and state = 'ready' and id > $6 and lost < $5 and exists (select from me)
   order by priority desc, id
   limit $3
     for no key update skip locked
)
update job
   set state = 'running', worker_id = $1, epoch = job.epoch + 1, run_at = null,
       started_at = coalesce(started_at, clock_timestamp())
  from picked
 where job.ctid = picked.at
returning job.id, job.version_id, job.epoch, job.args, job.created_by, job.waiter, job.lost, job.journaled, job.canceled_by,
          job.trace, job.signals, job.part, picked.run_at is not null as waited
