-- i06_newest_claim: What is recorded was written by the newest claim of its job.
-- needs: recording
-- $1 the first job id looked at.
select e.job_id::text as subject,
       format('ended under epoch %s of worker %s by worker %s; the newest claim is epoch %s of worker %s', e.from_epoch, e.from_worker,
              coalesce(e.writer, e.from_worker), c.to_epoch, c.to_worker) as detail
  from audit_transition e
 cross join lateral (
   select c.to_epoch, c.to_worker from audit_transition c
    where c.job_id = e.job_id and c.n < e.n and c.cause = 'claimed'
    order by c.n desc limit 1
 ) c
 where e.job_id >= $1 and e.cause = 'ended'
   and ((e.from_epoch, e.from_worker) is distinct from (c.to_epoch, c.to_worker) or e.writer <> e.from_worker)
union all
select c.job_id::text, format('claimed for worker %s by worker %s', c.to_worker, c.writer)
  from audit_transition c
 where c.job_id >= $1 and c.cause = 'claimed' and c.writer <> c.to_worker
union all
select k.job_id::text,
       format('record %s was kept under epoch %s of worker %s by worker %s', k.place, k.epoch, k.worker_id, k.writer)
  from audit_record_kept k
 where k.job_id >= $1 and k.op = 'insert' and (k.epoch is null or k.worker_id is null or k.writer <> k.worker_id)
   -- A job that starts from the middle of another one is stored with the records it begins with.
   and not (k.epoch = 0 and k.writer is null
            and exists (select from job_replay r where r.job_id = k.job_id and r.from_step is not null))
union all
select d.job_id::text, format('ended by worker %s, recorded of worker %s', e.from_worker, d.worker_id)
  from audit_end d join audit_transition e on e.job_id = d.job_id and e.txid = d.txid and e.cause = 'ended'
 where d.job_id >= $1 and d.op = 'insert' and d.worker_id is distinct from e.from_worker;
