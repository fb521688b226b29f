-- read_job_outcome: $1 workspace, $2 id. How far a job is, and its result once it is over.
select null as "status", started_at is not null as "started", state = 'running' as "running", null::json as "result"
  from job where id = $2 and workspace_id = $1
union all
select status, true, false, result
  from job_done where id = $2 and workspace_id = $1;
