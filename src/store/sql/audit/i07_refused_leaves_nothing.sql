-- i07_refused_leaves_nothing: A report that was refused has left nothing behind, and nobody ends a claim but its worker.
-- needs: recording
-- $1 the first job id looked at.
select r.job_id::text as subject,
       format('%s of worker %s under epoch %s was refused, and somebody else had ended that claim', r.what, r.worker_id, r.epoch) as detail
  from audit_refusal r
 where r.job_id >= $1 and r.kind = 'foreign'
union all
select r.job_id::text, format('%s of worker %s under epoch %s was refused, and then ended the claim', r.what, r.worker_id, r.epoch)
  from audit_refusal r
  join audit_transition t on t.job_id = r.job_id and t.n > r.n and t.from_epoch = r.epoch and t.from_worker = r.worker_id
 where r.job_id >= $1 and t.cause in ('ended', 'released', 'parked')
union all
select r.job_id::text, format('%s of worker %s under epoch %s was refused, and record %s kept', r.what, r.worker_id, r.epoch, k.place)
  from audit_refusal r
  join audit_record_kept k on k.job_id = r.job_id and k.n > r.n and k.epoch = r.epoch and k.worker_id = r.worker_id
 where r.job_id >= $1 and k.op = 'insert';
