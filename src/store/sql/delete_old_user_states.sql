-- delete_old_user_states: what steps of long ago kept. $1 the first id kept. A job may wait for longer than that.
delete from job_user_state s where s.job_id < $1 and not exists (select from job where job.id = s.job_id);
