-- m17_steps_of_its_version: Every step that was recorded is one of the job's flow version.
-- $1 the first job id looked at.
with module as materialized (
  select v.id as version_id, m.value ->> 'id' as step
    from flow_version v
   cross join lateral (
     select value from json_array_elements(case when json_typeof(v.value -> 'modules') = 'array' then v.value -> 'modules' else '[]' end)
     union all
     select v.value -> 'failure_module' where json_typeof(v.value -> 'failure_module') = 'object'
   ) m
)
select r.job_id::text as subject, format('step %s is not in version %s', r.step, r.version_id) as detail
  from audit_result r
 where r.job_id >= $1 and not exists (select from module m where m.version_id = r.version_id and m.step = r.step);
