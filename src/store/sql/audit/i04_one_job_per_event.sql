-- i04_one_job_per_event: An event is one job, and a job one event.
-- needs: history
-- $1 the first job id looked at. A job started again from another one's arguments is no event.
select e.op as subject, format('%s jobs: %s', count(*), string_agg(e.job_id::text, ', ' order by e.job_id)) as detail
  from audit_event e
 where e.job_id >= $1 and e.op in (select op from history_op)
   and not exists (select from job_replay r where r.job_id = e.job_id)
 group by e.op
having count(*) > 1
union all
select o.id::text, format('the reply to %s events: %s', count(distinct o.op), string_agg(distinct o.op, ', '))
  from history_op o
 where o.kind = 'ok' and o.id >= $1
 group by o.id
having count(distinct coalesce(o.key, 'op ' || o.op)) > 1;
