-- m21_turn_of_a_job: A turn is of an active job, or kept until its window is over.
-- $1 the first job id looked at.
select turn.job_id::text as subject,
       case when job.id is null then 'is over, and its turn was not passed on' else 'is active, and its turn is as if it were over' end as detail
  from turn left join job on job.id = turn.job_id
 where turn.job_id >= $1 and (job.id is null) <> (turn.free_at is not null);
