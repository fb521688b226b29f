-- delete_old_log_rest: what retention takes from job_log_rest. $1 the first id kept. The logs of a job stay as long as it.
-- A step's id is its job's with another last group of four digits.
delete from job_log_rest l
 where l.id < $1
   and not exists (select from job where job.id = (left(l.id::text, 32) || '0000')::uuid)
   and not exists (select from job_done_rest d where d.id = (left(l.id::text, 32) || '0000')::uuid);
