-- m08_steps_fold: The records of every job fold: known kinds, and steps numbered 1, 2, 3 and so on.
-- $1 the first job id looked at. Loops, branches, flows and their bodies take numbers too, and what a workflow asks for, and have no outcome of their own.
with record as (
  select d.id as job_id, d.version_id, e.record
    from job_done d
   cross join lateral json_array_elements(case when json_typeof(d.steps) = 'array' then d.steps else '[null]' end) as e (record)
   where d.id >= $1
  union all
  select journal.job_id, job.version_id, journal.record
    from job_journal journal left join job on job.id = journal.job_id
   where journal.job_id >= $1
), nesting as materialized (
  select id from flow_version where value::text ~ '"type"\s*:\s*"(forloopflow|whileloopflow|branchone|branchall|flow)"'
), seen as (
  select record.job_id, coalesce(record.version_id in (select id from nesting), false) as nests, coalesce(r.k, '(none)') as k, case when r.k in ('ok', 'err', 'spread') then r.n end as n
    from record
   cross join lateral json_to_record(case when json_typeof(record.record) = 'object' then record.record else '{}' end) as r (k text, n integer)
)
select job_id::text as subject,
       format('records of kind %s; %s steps, numbered %s to %s', string_agg(distinct k, ', '), count(distinct n), min(n), max(n)) as detail
  from seen
 group by job_id
having bool_or(k not in ('ok', 'err', 'pick', 'wake', 'cancel', 'items', 'call', 'signal', 'cached', 'spread', 'inline', 'round'))
    or bool_or(k in ('ok', 'err') and n is null)
    or (count(n) > 0 and (min(n) < 1 or (not bool_or(nests or k = 'round') and (min(n) <> 1 or max(n) <> count(distinct n)))));
