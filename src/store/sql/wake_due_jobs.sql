-- wake_due_jobs: parked jobs whose time has come become ready, at most $2. $1: now (null in production). Returns their tags.
-- run_at stays until they are claimed: it tells whoever claims one that its wait is over.
with due as materialized (
  select id from job
   where state = 'parked' and run_at <= coalesce($1::timestamptz, clock_timestamp())
   order by run_at
   limit $2
     for no key update skip locked
), ready as (
  update job set state = 'ready' from due where job.id = due.id returning job.tag
)
select distinct tag from ready
