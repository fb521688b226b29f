-- history/counts: how the history compares, in numbers of events. $1 the first job id looked at. A: attempted, K: acknowledged,
-- E: there, D: finished. Lost = K − E, unfinished = E − D, phantom = E − A; recovered = E ∩ (A − K): their outcome was unknown, and they had landed.
with attempted as materialized (
  select op, max(key) as key, bool_or(kind = 'ok') as acknowledged from history_op group by op
), landed as materialized (
  select e.op, e.key, e.job_id, e.accepted_at, not exists (select from job where job.id = e.job_id) as finished
    from audit_event e
   where e.op is not null and e.job_id >= $1
), event as (
  select a.op, a.acknowledged, o.op is not null or k.key is not null as there, coalesce(o.finished, true) and coalesce(k.finished, true) as finished
    from attempted a
    left join (select op, bool_and(finished) as finished from landed group by op) o on o.op = a.op
    left join (select key, bool_and(finished) as finished from landed where key is not null group by key) k on k.key = a.key
)
select count(*)::integer as "attempted",
       (count(*) filter (where acknowledged))::integer as "acknowledged",
       (count(*) filter (where there))::integer as "landed",
       (count(*) filter (where there and finished))::integer as "finished",
       (count(*) filter (where acknowledged and not there))::integer as "lost",
       (count(*) filter (where there and not finished))::integer as "unfinished",
       (select count(distinct l.op) from landed l
         where l.accepted_at >= coalesce((select min(at) from history_op), '-infinity')
           and not exists (select from attempted a where a.op = l.op))::integer as "phantom",
       (count(*) filter (where there and not acknowledged))::integer as "recovered"
  from event
