-- canceled_jobs: the jobs of worker $1 that someone asked to stop.
select id, canceled_by, canceled_reason from job where worker_id = $1 and canceled_by is not null and state = 'running'
