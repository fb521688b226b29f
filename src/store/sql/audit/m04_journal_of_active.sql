-- m04_journal_of_active: Only active jobs have a journal, and they are marked so.
-- $1 the first job id looked at.
select g.job_id::text as subject,
       case when job.id is null then format('%s records of a job that is not active', g.records)
            else format('%s records, and the job is not marked as journaled', g.records) end as detail
  from (select job_id, count(*) as records from job_journal where job_id >= $1 group by job_id) g
  left join job on job.id = g.job_id
 where job.id is null or not job.journaled;
