-- i01_accepted_is_durable: An event answered 2xx is there, with the arguments that were sent.
-- needs: history
-- $1 the first job id looked at.
select o.op as subject,
       case
         when e.job_id is null then format('answered 2xx with job %s, which is not there', coalesce(o.id::text, '(no id)'))
         when e.op is distinct from o.op then format('answered with job %s, which has op %s', o.id, coalesce(e.op, '(none)'))
         else format('job %s has other arguments than were sent', o.id)
       end as detail
  from history_op o
  left join audit_event e on e.job_id = o.id
 where o.kind = 'ok' and (o.id is null or o.id >= $1)
   and (e.job_id is null
        -- an event sent with the key of another one is that one
        or (e.op is distinct from o.op and (o.key is null or e.key is distinct from o.key))
        or (e.op = o.op and o.sha256 is not null and e.args_sha256 <> o.sha256));
