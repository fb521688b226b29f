-- delete_old_progress: what steps of long ago said of their progress. $1 the first id kept, $2 the time (ms) of it.
delete from job_progress where id < $1 and at < to_timestamp($2::float8 / 1000);
