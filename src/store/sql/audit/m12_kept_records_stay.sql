-- m12_kept_records_stay: A record that was made durable is never changed, and is in the steps of its job, until delete_after_secs takes it.
-- needs: recording
-- $1 the first job id looked at.
select k.job_id::text as subject, format('record %s was changed', k.place) as detail
  from audit_record_kept k
 where k.job_id >= $1 and k.op <> 'insert'
union all
select k.job_id::text, format('record %s was kept twice', k.place)
  from audit_record_kept k
 where k.job_id >= $1 and k.op = 'insert'
 group by k.job_id, k.place
having count(*) > 1
union all
select k.job_id::text, format('record %s is not in the steps of the job', k.place)
  from audit_record_kept k join job_done d on d.id = k.job_id
 where k.job_id >= $1 and k.op = 'insert'
   and d.deleted is null
   and not exists (
     select from json_array_elements(case when json_typeof(d.steps) = 'array' then d.steps else '[]' end) with ordinality as e (record, place)
      where e.place = k.place and md5(e.record::text) = k.record_md5);
