-- read_early: $1 ids. What the steps gave that these jobs answer with before they are over (early_return), where it is durable. (Of a step apart: what its job came to.)
select asked.id as "id", early.result as "result"
  from unnest($1::uuid[]) as asked (id)
 cross join lateral (
   select coalesce(case when j.record ->> 'k' = 'signal' then j.record -> 'v' -> 'result' else j.record -> 'v' end, 'null') as result
     from job_journal j
    where j.job_id = asked.id and j.record ->> 'early' = 'true'
   union all
   select coalesce(case when e.record ->> 'k' = 'signal' then e.record -> 'v' -> 'result' else e.record -> 'v' end, d.result)
     from job_done d cross join lateral json_array_elements(d.steps) as e (record)
    where d.id = asked.id and e.record ->> 'early' = 'true'
   limit 1
 ) early
