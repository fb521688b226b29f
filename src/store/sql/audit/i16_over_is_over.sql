-- i16_over_is_over: What is over stays over.
-- needs: recording
-- $1 the first job id looked at.
select job_id::text as subject, format('%s after it was over', cause) as detail
  from (select job_id, cause, bool_or(to_state is null) over before as over
          from audit_transition
         where job_id >= $1
        window before as (partition by job_id order by n rows between unbounded preceding and 1 preceding)) changes
 where over;
