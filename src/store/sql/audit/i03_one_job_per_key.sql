-- i03_one_job_per_key: Every reply for a key names the same job, and so does the key.
-- needs: history
-- $1 the first job id looked at.
select o.key as subject, format('replies name %s', string_agg(distinct o.id::text, ', ')) as detail
  from history_op o
 where o.kind = 'ok' and o.key is not null and o.id >= $1
 group by o.key
having count(distinct o.id) > 1
union all
select o.key, format('a reply names %s, the key %s', o.id, k.job_id)
  from history_op o join job_key k on k.key = o.key
 where o.kind = 'ok' and o.id >= $1 and k.job_id <> o.id
   and not exists (select from job_key same where same.key = o.key and same.job_id = o.id);
