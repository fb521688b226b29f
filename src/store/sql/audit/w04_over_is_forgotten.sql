-- w04_over_is_forgotten: Answers to a job that is over, and the times it waited for, do not stay.
-- $1 the first job id looked at. What came in a job's last moment is taken by retention, every hour: only what is there though the engine
-- was at work two hours later is told.
with newest as (
  select coalesce((select audit_accepted_at(id) from job_done order by id desc limit 1), '-infinity') as accepted_at
), kept as (
  select job_id, count(*) as rows
    from (select job_id from signal union all select job_id from job_wait) k
   where job_id >= $1
   group by job_id
)
select kept.job_id::text as subject, format('%s answers and times of a job that is not active', kept.rows) as detail
  from kept cross join newest
  left join job_done done on done.id = kept.job_id
 where not exists (select from job where job.id = kept.job_id)
   and coalesce(done.completed_at, audit_accepted_at(kept.job_id)) < newest.accepted_at - interval '2 hours';
