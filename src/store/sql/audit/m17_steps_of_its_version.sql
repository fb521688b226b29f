-- m17_steps_of_its_version: Every step that was recorded is one of the job's flow version.
-- $1 the first job id looked at. Or of a flow that the job has begun inside.
with module as materialized (
  select v.id as version_id, m.step #>> '{}' as step
    from flow_version v
   cross join unnest(array['lax $.**.modules[*].id', 'lax $.**.default[*].id', 'lax $.failure_module.id', 'lax $.preprocessor_module.id']::jsonpath[]) as place
   cross join lateral jsonb_path_query(v.value::jsonb, place) as m (step)
), called as materialized (
  select d.id as job_id, (e.record ->> 'version')::bigint as version_id
    from job_done d
   cross join lateral json_array_elements(case when json_typeof(d.steps) = 'array' then d.steps else '[]' end) as e (record)
   where d.id >= $1 and d.steps::text like '%"k":"call"%' and e.record ->> 'version' <> ''
  union all
  select job_id, (record ->> 'version')::bigint
    from job_journal where job_id >= $1 and record ->> 'k' = 'call' and record ->> 'version' <> ''
)
select r.job_id::text as subject, format('step %s is not in version %s', r.step, r.version_id) as detail
  from audit_result r
 where r.job_id >= $1
   and not exists (select from module m where m.version_id = r.version_id and m.step = r.step)
   and not exists (select from called c join module m on m.version_id = c.version_id where c.job_id = r.job_id and m.step = r.step);
