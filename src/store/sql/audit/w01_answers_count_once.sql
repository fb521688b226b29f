-- w01_answers_count_once: No answer to a waiting job is counted twice.
-- $1 the first job id looked at.
with record as (
  select d.id as job_id, e.record
    from job_done d
   cross join lateral json_array_elements(case when json_typeof(d.steps) = 'array' then d.steps else '[]' end) as e (record)
   where d.id >= $1
  union all
  select job_id, record from job_journal where job_id >= $1
), answer as (
  select record.job_id, r.seq, r.n, r.id
    from record
   cross join lateral json_to_record(case when json_typeof(record.record) = 'object' then record.record else '{}' end)
                      as r (k text, seq integer, n integer, id bigint)
   where r.k = 'signal'
)
select job_id::text as subject, format('%s answers were counted, of %s that were sent', count(*), count(distinct (n, id))) as detail
  from answer
 group by job_id
having count(*) > count(distinct (n, id)) or count(*) > count(distinct seq);
