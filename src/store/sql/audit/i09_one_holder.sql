-- i09_one_holder: Nobody is given a job that another worker holds.
-- needs: recording
-- $1 the first job id looked at.
select job_id::text as subject, format('given to worker %s (epoch %s) while worker %s held it (epoch %s)', to_worker, to_epoch, holder, held) as detail
  from (select job_id, cause, to_state, to_worker, to_epoch, lag(to_state) over byjob as before,
               lag(to_worker) over byjob as holder, lag(to_epoch) over byjob as held
          from audit_transition
         where job_id >= $1
        window byjob as (partition by job_id order by n)) changes
 where before = 'running' and to_state = 'running' and (to_worker, to_epoch) is distinct from (holder, held);
