-- enqueue_turns: as enqueue_jobs and enqueue_keyed_jobs, for jobs of which some wait for their turn, or are absorbed by one that does
-- (see turn_accept). $1 holds each key once. Rows with an asked_id: the job it became; the others: tags with jobs that are ready.
select distinct asked_id as "askedId", job_id as "jobId", tag as "tag" from turn_accept($1)
