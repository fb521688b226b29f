-- i22_not_before_its_time: Nothing runs before its time.
-- needs: recording
-- $1 the first job id looked at.
select job_id::text as subject, format('%s at %s, before its time %s', cause, at, due) as detail
  from (select job_id, cause, at, to_state, lag(run_at) over byjob as due, lag(to_state) over byjob as before
          from audit_transition
         where job_id >= $1 and cause <> 'cancel_asked'
        window byjob as (partition by job_id order by n)) changes
 where before = 'parked' and to_state in ('ready', 'running') and at < due;
