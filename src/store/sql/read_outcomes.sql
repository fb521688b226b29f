-- read_outcomes: $1 ids. Those that are over.
select id, status, result from job_done where id = any ($1::uuid[]);
