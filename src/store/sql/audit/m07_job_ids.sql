-- m07_job_ids: A job's id is a UUIDv7 whose low 16 bits are zero, since its steps' ids are made with them.
-- $1 the first job id looked at.
select job_id::text as subject, 'is no job id' as detail
  from audit_job
 where job_id >= $1 and job_id::text !~ '^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{8}0000$';
