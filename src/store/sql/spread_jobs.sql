-- spread_jobs: as append_journal, for records that jobs come with: $1 worker_id, $2 json [{id, epoch, n, record, step, part, v, at_once,
-- jobs: [{id, slot, args}, …]}, …], each job once. The parts of a loop, durable with the record that says so, and once: where the
-- record is there already, so are they. `at_once` of them are ready, the others wait for their turn.
-- The share lock on the worker's row: see claim_jobs. What a dead worker's job left is all there when it is looked for.
with me as materialized (
  select id from worker where id = $1 and state = 'alive' for share
), fact as materialized (
  select id, epoch, n, record, step, part, v, at_once, jobs
    from json_to_recordset($2) as f
         (id uuid, epoch integer, n integer, record json, step integer, part text, v bigint, at_once integer, jobs json)
), ours as materialized (
  select job.id, job.workspace_id, job.tag, job.priority, job.created_by, job.trace from job join fact on job.id = fact.id
   where job.worker_id = $1 and job.epoch = fact.epoch and job.state = 'running' and exists (select from me)
   order by job.id
     for no key update of job
), marked as (
  update job set journaled = true from ours where job.id = ours.id and not job.journaled
), kept as (
  insert into job_journal (job_id, n, record)
  select fact.id, fact.n, fact.record from fact join ours on fact.id = ours.id
  on conflict do nothing
  returning job_id
), added as (
  insert into job (id, workspace_id, version_id, tag, priority, args, created_by, trace, parent_id, parent_step, parent_slot, part, state)
  select new.id, ours.workspace_id, fact.v, ours.tag, ours.priority, new.args, ours.created_by, ours.trace, ours.id, fact.step,
         new.slot, fact.part, case when new.slot < fact.at_once then 'ready'::job_state else 'waiting' end
    from kept
    join ours on ours.id = kept.job_id
    join fact on fact.id = kept.job_id,
         json_to_recordset(fact.jobs) as new (id uuid, slot integer, args json)
  returning tag
)
select fact.id from fact where not exists (select from ours where ours.id = fact.id)
union all
select null from (select pg_notify('millrace_work', '* ' || tag) from (select distinct tag from added) as ready) as told
