-- m18_lost_with_its_worker: A job is taken only from a worker that was declared dead.
-- needs: recording
-- $1 the first job id looked at.
select l.job_id::text as subject, format('taken from worker %s at epoch %s, which was not declared dead', l.from_worker, l.from_epoch) as detail
  from audit_transition l
  join worker w on w.id = l.from_worker -- one that is long gone cannot be asked
 where l.job_id >= $1 and l.cause = 'lost'
   and (w.stopped_at is null or w.stopped_at > l.at)
   and not exists (select from audit_worker_state s where s.worker_id = l.from_worker and s.n < l.n and s.to_state = 'dead');
