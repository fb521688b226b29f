-- wake_due_jobs: parked and waiting jobs whose time has come become ready, at most $2; turns whose time has come, at most $2, are given,
-- and their jobs are ready or wait for one that is free. $1: now (null in production). Returns the tags of those that are ready.
-- run_at stays until they are claimed: it tells whoever claims one that its wait is over.
with parked as materialized (
  select id from job
   where state = 'parked' and run_at <= (select coalesce($1::timestamptz, clock_timestamp()))
   order by run_at
   limit $2
     for no key update skip locked
), waiting as materialized (
  select id from job
   where state = 'waiting' and run_at <= (select coalesce($1::timestamptz, clock_timestamp()))
   order by run_at
   limit $2
     for no key update skip locked
), ready as (
  update job set state = 'ready' from (select id from parked union all select id from waiting) as due
   where job.id = any (array[due.id]) returning job.tag
)
select tag as "tag" from ready
union
select tag from unnest(turn_due(coalesce($1::timestamptz, clock_timestamp()), $2::integer)) as given (tag)
