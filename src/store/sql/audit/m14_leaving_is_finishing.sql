-- m14_leaving_is_finishing: A job leaves the queue in the transaction that records its end, and in no other way.
-- needs: recording
-- $1 the first job id looked at, $2 losses a job survives, $3 days that finished jobs are kept.
with given as (
  select $1::uuid as since, $2::integer as lost_max, $3::integer as retention_days
)
select t.job_id::text as subject, 'left the queue without a recorded end' as detail
  from audit_transition t cross join given
 where t.job_id >= given.since and t.to_state is null
   and not exists (select from audit_end d where d.job_id = t.job_id and d.op = 'insert' and d.txid = t.txid)
union all
select d.job_id::text, 'its end was recorded without its leaving the queue'
  from audit_end d cross join given
 where d.job_id >= given.since and d.op = 'insert'
   and not exists (select from audit_transition t where t.job_id = d.job_id and t.to_state is null and t.txid = d.txid)
union all
select t.job_id::text, 'was there, and is neither active nor finished'
  from (select distinct job_id from audit_transition cross join given where job_id >= given.since) t cross join given
 where audit_accepted_at(t.job_id) > clock_timestamp() - given.retention_days * interval '1 day'
   and not exists (select from job where job.id = t.job_id)
   and not exists (select from job_done d where d.id = t.job_id);
