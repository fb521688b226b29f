-- i08_epochs_grow: Every claim, release and take-over raises a job's epoch, and nothing takes it back.
-- needs: recording
-- $1 the first job id looked at.
select job_id::text as subject, format('%s with epoch %s after %s', cause, to_epoch, highest) as detail
  from (select job_id, cause, to_epoch, max(to_epoch) over before as highest
          from audit_transition
         where job_id >= $1 and to_epoch is not null
        window before as (partition by job_id order by n rows between unbounded preceding and 1 preceding)) changes
 where to_epoch < highest or (to_epoch = highest and cause in ('claimed', 'released', 'parked', 'lost'));
