-- append_journal: $1 worker_id, $2 json [{id, epoch, n, record}, …]. The job rows are locked (in id order), so a take-over
-- either comes after these records or makes them match nothing. Returns the ids that were no longer ours.
with fact as materialized (
  select id, epoch, n, record from json_to_recordset($2) as f (id uuid, epoch integer, n integer, record json)
), asked as materialized (
  select distinct id, epoch from fact
), ours as materialized (
  select job.id, job.epoch from job join asked on job.id = any (array[asked.id])
   where job.worker_id = $1 and job.epoch = asked.epoch and job.state = 'running'
   order by asked.id
     for no key update of job
), marked as (
  update job set journaled = true from ours where job.id = any (array[ours.id]) and not job.journaled
), kept as (
  insert into job_journal (job_id, n, record)
  select fact.id, fact.n, fact.record from fact join ours on fact.id = ours.id and fact.epoch = ours.epoch
  on conflict do nothing
)
select asked.id from asked where not exists (select from ours where ours.id = asked.id)
