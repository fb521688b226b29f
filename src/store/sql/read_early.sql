-- read_early: $1 ids. What the steps gave that these jobs answer with before they are over (early_return), where it is durable.
select asked.id as "id", early.result as "result"
  from unnest($1::uuid[]) as asked (id)
 cross join lateral (
   select coalesce(j.record -> 'v', 'null') as result
     from job_journal j
    where j.job_id = asked.id and j.record ->> 'early' = 'true'
   union all
   select coalesce(e.record -> 'v', d.result)
     from job_done d cross join lateral json_array_elements(d.steps) as e (record)
    where d.id = asked.id and e.record ->> 'early' = 'true'
   limit 1
 ) early
