-- read_job_key: $1 workspace, $2 a name a caller gave. The job of that name.
select job_id as "jobId" from job_key where workspace_id = $1 and key = $2;
