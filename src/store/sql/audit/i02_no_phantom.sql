-- i02_no_phantom: Every event that is there was sent, and not refused.
-- needs: history
-- $1 the first job id looked at. Events from before the history began are another run's.
select e.op as subject,
       case when o.op is null then format('job %s was never sent', e.job_id) else format('job %s was refused, and is there', e.job_id) end as detail
  from audit_event e
  left join (select op, bool_and(kind = 'fail') as refused from history_op group by op) o on o.op = e.op
 where e.op is not null and e.job_id >= $1
   and e.accepted_at >= coalesce((select min(at) from history_op), '-infinity')
   and (o.op is null or o.refused);
