-- quit_parts: $1 worker_id, $2 json [{id, epoch, step, unbegun}, …]: the parts of these loops of jobs that it holds are to stop; or
-- those that have not begun. Whoever claims one ends it; those that run are ended by their workers.
with asked as materialized (
  select id, epoch, step, unbegun from json_to_recordset($2) as a (id uuid, epoch integer, step integer, unbegun boolean)
), locked as materialized (
  select turn_lock_of(array(select id from asked)) -- before any row of job
), ours as materialized (
  select job.id, asked.step, asked.unbegun from job join asked on job.id = any (array[asked.id])
   where job.worker_id = $1 and job.epoch = asked.epoch and job.state = 'running' and exists (select from locked)
   order by asked.id
     for no key update of job
), needless as (
  update job
     set canceled_by = 'the job it is a part of', canceled_reason = 'its loop is over',
         state = case when state = 'running' then state else 'ready' end, run_at = null
    from ours
   where job.parent_id is not null and job.parent_id = any (array[ours.id]) and job.parent_step = ours.step and job.part is not null
     and job.canceled_by is null and (not ours.unbegun or job.started_at is null)
  returning job.id, job.tag, job.state
)
select null as id
  from (
    select pg_notify('millrace_work', '* ' || tag) from (select distinct tag from needless where state = 'ready') as ready
    union all
    select pg_notify('millrace_control', 'cancel ' || id) from needless where state = 'running'
  ) as told
