-- keep_waits: $1 worker_id, $2 json [{id, epoch, waits: [{key, ms, …}, …]}, …]: times that jobs wait for while more of them runs, kept as
-- release_jobs keeps those of a job that is given back; one that is kept stays as it was. The records that lead to them are in the journal
-- before. The job rows are locked (in id order), so that none is written behind a take-over. Returns the ids that were no longer ours.
with asked as materialized (
  select id, epoch, waits from json_to_recordset($2) as a (id uuid, epoch integer, waits json)
), ours as materialized (
  select job.id, job.epoch from job join (select distinct id, epoch from asked) as held on job.id = any (array[held.id])
   where job.worker_id = $1 and job.epoch = held.epoch and job.state = 'running'
   order by held.id
     for no key update of job
), kept as (
  insert into job_wait (job_id, key, until, step, wanted, answered_by, groups, module_id, version_id)
  select ours.id, wait.key, clock_timestamp() + wait.ms * interval '1 ms', wait.step, wait.wanted, wait.by, wait.groups, wait.module,
         wait.version
    from asked join ours on ours.id = asked.id and ours.epoch = asked.epoch,
         json_to_recordset(asked.waits) as wait
           (key integer, ms float8, step integer, wanted integer, by text, groups text[], module text, version bigint)
  on conflict do nothing
)
select distinct asked.id from asked where not exists (select from ours where ours.id = asked.id)
