-- m16_known_changes: A job changes only in the ways there are: accepted, claimed, released, parked, due, lost, ended, canceled.
-- needs: recording
-- $1 the first job id looked at.
select job_id::text as subject,
       format('from (%s, epoch %s, worker %s) to (%s, epoch %s, worker %s)', from_state, from_epoch, from_worker, to_state, to_epoch, to_worker) as detail
  from audit_transition
 where job_id >= $1 and cause = 'other';
