-- i21_canceled_stays_canceled: Nothing is claimed after it was canceled.
-- needs: recording
-- $1 the first job id looked at.
select c.job_id::text as subject, format('claimed by worker %s after it was canceled', c.to_worker) as detail
  from audit_transition c
  join audit_end d on d.job_id = c.job_id and d.n < c.n and d.op = 'insert' and d.status = 'canceled'
 where c.job_id >= $1 and c.cause = 'claimed';
