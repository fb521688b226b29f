-- m01_in_one_place: A job is active or finished, not both.
-- $1 the first job id looked at.
select job.id::text as subject, format('is %s, and recorded as %s', job.state, d.status) as detail
  from job join job_done d on d.id = job.id
 where job.id >= $1;
