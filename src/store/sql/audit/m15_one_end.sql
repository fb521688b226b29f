-- m15_one_end: A job's end is recorded once, and never changed, but for what delete_after_secs takes.
-- needs: recording
-- $1 the first job id looked at.
select job_id::text as subject, string_agg(op || ' ' || status, ', ' order by n) as detail
  from audit_end
 where job_id >= $1
 group by job_id
having count(*) filter (where op <> 'deleted') > 1 or bool_or(op not in ('insert', 'deleted')) or count(distinct status) > 1;
