-- i19_budgets: No step is tried, and no job lost, more often than allowed; poison is only what was lost too often.
-- $1 the first job id looked at, $2 losses a job survives.
with given as (
  select $1::uuid as since, $2::integer as lost_max
), budget as materialized (
  select v.id as version_id, m.value ->> 'id' as step,
         1 + coalesce((m.value #>> '{retry,constant,attempts}')::integer, 0)
           + coalesce((m.value #>> '{retry,exponential,attempts}')::integer, 0) as attempts
    from flow_version v
   cross join lateral (
     select value from json_array_elements(case when json_typeof(v.value -> 'modules') = 'array' then v.value -> 'modules' else '[]' end)
     union all
     select v.value -> 'failure_module' where json_typeof(v.value -> 'failure_module') = 'object'
   ) m
), failed as (
  select r.job_id, r.version_id, r.step, count(*) as failures
    from audit_result r cross join given
   where r.job_id >= given.since and not r.ok
   group by r.job_id, r.version_id, r.step
), workflow as materialized ( -- their tasks count as outcomes of the step
  select id from job_done where id >= (select since from given) and steps::text like '%"k":"round"%'
  union all
  select job_id from job_journal where job_id >= (select since from given) and record ->> 'k' = 'round'
)
select f.job_id::text as subject, format('step %s failed %s times of %s', f.step, f.failures, b.attempts) as detail
  from failed f join budget b on b.version_id = f.version_id and b.step = f.step
 where f.failures > b.attempts and f.job_id not in (select id from workflow)
union all
select j.job_id::text, format('lost %s times of %s', j.lost, given.lost_max)
  from audit_job j cross join given
 where j.job_id >= given.since
   -- A part that was lost too often is ended by whoever claims it.
   and j.lost > given.lost_max + case when j.over or exists (select from job where job.id = j.job_id and job.part is not null) then 1 else 0 end
union all
select p.job_id::text, format('poison after %s losses of %s', p.lost, given.lost_max)
  from audit_poison p cross join given
 where p.job_id >= given.since and p.lost <= given.lost_max;
