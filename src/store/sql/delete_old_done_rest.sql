-- delete_old_done_rest: what retention takes from job_done_rest. $1 the first id kept, $2 the time (ms) of it.
-- A job that was accepted long ago and finished only now is kept as long as any other from its end on.
delete from job_done_rest where id < $1 and completed_at < to_timestamp($2::float8 / 1000);
