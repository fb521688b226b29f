-- forget_failures: $1 ids: their handlers were started, or need not be. $2 ids of those whose handler is not there, to be looked at again
-- in $3 seconds.
with done as (
  delete from failure where job_id = any ($1::uuid[])
)
update failure set missed = true, due_at = clock_timestamp() + $3 * interval '1 s' where job_id = any ($2::uuid[]);
