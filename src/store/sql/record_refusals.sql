-- record_refusals: writes of worker $1 that matched nothing, for the audit; does nothing while audit mode is off. $2 what it was
-- (finish | journal | release), $3 json [{id, epoch}, …], $4 it was sent before, and the reply did not come. If that claim was ended in its
-- worker's name, then by this very write (repeat), or, where it was not sent before, by somebody else (foreign).
with refused as (
  select distinct id, epoch from json_to_recordset($3) as r (id uuid, epoch integer)
)
insert into audit_refusal (job_id, epoch, worker_id, what, kind, job_epoch, job_worker)
select r.id, r.epoch, $1::integer, $2::text,
       case
         when not exists (
           select from audit_transition t
            where t.job_id = r.id and t.from_epoch = r.epoch and t.from_worker = $1 and t.cause in ('ended', 'released', 'parked')
              -- poison: ended by who took it over
              and not exists (select from audit_end d where d.job_id = t.job_id and d.txid = t.txid and d.lost > t.lost))
         then 'stale'
         when $4::boolean then 'repeat'
         else 'foreign'
       end,
       job.epoch, job.worker_id
  from refused r left join job on job.id = r.id
 where exists (select from audit_recording where ended_at is null)
