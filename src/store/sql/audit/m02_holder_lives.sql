-- m02_holder_lives: A running job belongs to a worker that lives, or died and was not reaped yet.
-- $1 the first job id looked at.
select job.id::text as subject,
       case when w.id is null then format('runs on worker %s, which there is not', coalesce(job.worker_id::text, '(none)'))
            else format('runs on worker %s, which is %s', w.id, w.state) end as detail
  from job left join worker w on w.id = job.worker_id
 where job.id >= $1 and job.state = 'running' and (w.id is null or w.state in ('reaped', 'stopped'));
