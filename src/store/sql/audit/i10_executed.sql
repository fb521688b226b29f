-- i10_executed: Every step result comes from an execution.
-- needs: effects
-- $1 the first job id looked at. Only steps that write effects, and only from the first effect on (a second of grace: two clocks).
select r.job_id::text as subject, format('step %s (%s) has a value and was not executed', r.step, r.n) as detail
  from audit_result r
 where r.job_id >= $1 and r.ok
   and r.began_at >= (select min(at) - interval '1 s' from history_effect)
   and exists (select from history_effect f join audit_job j on j.job_id = f.job_id where f.step = r.step and j.version_id = r.version_id)
   -- What a job that starts from the middle of another one begins with was executed there.
   and not exists (select from job_replay p where p.job_id = r.job_id and p.from_step is not null)
   and not exists (select from history_effect f where f.job_id = r.job_id and f.step = r.step and coalesce(f.n, r.n) = r.n);
