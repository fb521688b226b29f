-- m06_parked_has_a_time: A parked job has a time to go on, and a running one has none.
-- $1 the first job id looked at.
select id::text as subject, format('is %s, with time %s', state, coalesce(run_at::text, '(none)')) as detail
  from job
 where id >= $1 and (state = 'parked' and run_at is null or state = 'running' and run_at is not null);
