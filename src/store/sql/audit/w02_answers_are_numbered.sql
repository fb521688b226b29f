-- w02_answers_are_numbered: The answers to a job are numbered 1, 2, 3 and so on, as many as its row says.
-- $1 the first job id looked at.
select job.id::text as subject,
       format('%s answers, numbered to %s; its row says %s', count(signal.seq), max(signal.seq), job.signals) as detail
  from job left join signal on signal.job_id = job.id
 where job.id >= $1 and (job.signals > 0 or signal.seq is not null)
 group by job.id, job.signals
having count(signal.seq) <> job.signals or coalesce(max(signal.seq), 0) <> job.signals;
