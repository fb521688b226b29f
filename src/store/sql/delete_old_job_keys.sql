-- delete_old_job_keys: names given to jobs that retention took. $1 the time (ms) before which. Active jobs keep theirs.
delete from job_key k
 where k.created_at < to_timestamp($1::float8 / 1000)
   and not exists (select from job where job.id = k.job_id)
   and not exists (select from job_done d where d.id = k.job_id);
