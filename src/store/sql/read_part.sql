-- read_part: $1 workspace, $2 id. The step apart that this job is: of which job (null: it runs in the place of several), its number
-- there, and what it runs. Nothing, if it is none.
select parent_id as "jobId", parent_step as "step", part as "part" from job where id = $2 and workspace_id = $1 and part like '_%/%'
union all
select parent_id, parent_step, part from job_done where id = $2 and workspace_id = $1 and part like '_%/%'
