-- give_back_unknown: jobs that worker $1 holds without knowing become ready again: all but $2 json [{id, epoch}, …], where the
-- epoch tells a claim that it knows from a later one of the same job. Their claim's answer was lost, so nothing of them has
-- run. Returns them.
with known as materialized (
  select id, epoch from json_to_recordset($2) as k (id uuid, epoch integer)
)
update job
   set state = 'ready', worker_id = null, epoch = job.epoch + 1
 where worker_id = $1 and state = 'running' and not exists (select from known where known.id = job.id and known.epoch = job.epoch)
returning id, tag
