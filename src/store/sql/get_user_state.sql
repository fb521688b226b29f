-- get_user_state: $1 workspace, $2 job, $3 key. The job's row may be in either table.
select s.value as "value" from job_user_state s
 where s.job_id = $2 and s.key = $3
   and (exists (select from job where id = $2 and workspace_id = $1) or exists (select from job_done where id = $2 and workspace_id = $1));
