-- w03_waits_have_steps: A job that waits for answers says for how many, and of which steps.
-- $1 the first job id looked at. (A job that waits for something else wants no answers, or has no time: it waits for parts.)
select job.id::text as subject, format('waits until it has %s answers; %s of its steps wait', job.signals_wanted, count(wait.key)) as detail
  from job left join job_wait wait on wait.job_id = job.id and wait.wanted is not null
 where job.id >= $1 and job.state = 'waiting' and job.signals_wanted is not null and job.run_at is not null
 group by job.id, job.signals_wanted
having count(wait.key) = 0;
