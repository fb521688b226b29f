-- replay_args: $1 workspace, $2 ids. The arguments of finished jobs that are to wait for a turn when they are started again.
select id as "id", args as "args" from job_done where workspace_id = $1 and id = any ($2::uuid[])
