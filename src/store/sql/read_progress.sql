-- read_progress: $1 first id, $2 last id. How far the newest of these steps says it is.
select percent from job_progress where id between $1 and $2 order by id desc limit 1;
