-- give_back_unknown: jobs that worker $1 holds without knowing become ready again: all but $2 json [{id, epoch}, …], where the
-- epoch tells a claim that it knows from a later one of the same job. Their claim's answer was lost, so nothing of them has
-- run. Returns them. $3: the round that end_claim_round has begun. Once there is a later one this is an old question, long on its way: what
-- the worker knows now is not in $2. The share lock keeps a later round from beginning, and its claims from being made, meanwhile.
with me as materialized (
  select id from worker where id = $1 and claim_round = $3 for share
), known as materialized (
  select id, epoch from json_to_recordset($2) as k (id uuid, epoch integer)
)
update job
   set state = 'ready', worker_id = null, epoch = job.epoch + 1
  from me
 where job.worker_id = me.id and job.state = 'running'
   and not exists (select from known where known.id = job.id and known.epoch = job.epoch)
returning job.id, job.tag
