-- m13_the_dead_claim_nothing: A worker that was declared dead, or has left, claims nothing.
-- needs: recording
-- $1 the first job id looked at.
select c.job_id::text as subject, format('claimed by worker %s, which was %s', c.to_worker, s.to_state) as detail
  from audit_transition c
  join audit_worker_state s on s.worker_id = c.to_worker and s.n < c.n and s.to_state <> 'alive'
 where c.job_id >= $1 and c.cause = 'claimed';
