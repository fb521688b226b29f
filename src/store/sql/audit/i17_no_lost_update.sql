-- i17_no_lost_update: Each change of a job starts where the one before has left it, and the last one is what is there.
-- needs: recording
-- $1 the first job id looked at.
with change as (
  select job_id, n, cause, from_state, from_epoch, from_worker, to_state, to_epoch, to_worker,
         lag(n) over byjob as before_n, lag(to_state) over byjob as before_state, lag(to_epoch) over byjob as before_epoch,
         lag(to_worker) over byjob as before_worker, lead(n) over byjob is null as last
    from audit_transition
   where job_id >= $1
  window byjob as (partition by job_id order by n)
)
select job_id::text as subject,
       format('%s from (%s, epoch %s, worker %s) after (%s, epoch %s, worker %s)', cause, from_state, from_epoch, from_worker,
              before_state, before_epoch, before_worker) as detail
  from change
 where before_n is not null and before_state is not null
   and (from_state, from_epoch, from_worker) is distinct from (before_state, before_epoch, before_worker)
union all
select c.job_id::text,
       format('is (%s, epoch %s, worker %s), recorded as (%s, epoch %s, worker %s)', job.state, job.epoch, job.worker_id, c.to_state,
              c.to_epoch, c.to_worker)
  from change c
  join job on job.id = c.job_id
 where c.last and c.to_state is not null and exists (select from audit_recording where ended_at is null)
   and (job.state, job.epoch, job.worker_id) is distinct from (c.to_state, c.to_epoch, c.to_worker);
