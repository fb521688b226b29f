-- delete_left_waits: times that jobs waited for which are over.
delete from job_wait where not exists (select from job where job.id = job_wait.job_id);
