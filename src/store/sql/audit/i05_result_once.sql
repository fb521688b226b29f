-- i05_result_once: Each step result is recorded at most once.
-- $1 the first job id looked at. A step has one outcome; and where no step holds others, a module one value.
with flat as materialized (
  select id from flow_version where value::text !~ '"type"\s*:\s*"(forloopflow|whileloopflow|branchone|branchall|flow)"'
), workflow as materialized ( -- their tasks count as outcomes of the step
  select id from job_done where id >= $1 and steps::text like '%"k":"round"%'
  union all
  select job_id from job_journal where job_id >= $1 and record ->> 'k' = 'round'
)
select job_id::text as subject,
       format('%s outcomes of %s steps, %s values of %s modules', count(*), count(distinct n), count(*) filter (where ok),
              count(distinct step) filter (where ok)) as detail
  from audit_result
 where job_id >= $1
 group by job_id, version_id
having count(*) <> count(distinct n)
    or (count(*) filter (where ok) <> count(distinct step) filter (where ok) and version_id in (select id from flat)
        and job_id not in (select id from workflow));
