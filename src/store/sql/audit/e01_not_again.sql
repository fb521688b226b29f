-- e01_not_again: No step is executed again after its result was recorded.
-- needs: effects
-- $1 the first job id looked at. Told where it can be: a worker that was taken over may still execute what it had begun, so
-- jobs that were lost count only by records that their first claim has kept. A second of grace: two clocks.
select f.job_id::text as subject, format('step %s (%s) was executed at %s, recorded at %s', f.step, r.n, f.at, r.recorded_at) as detail
  from history_effect f
  join (select r.job_id, r.step, r.n, r.recorded_at
          from audit_result r join job_done d on d.id = r.job_id
         where r.ok and d.lost = 0 and d.status <> 'canceled'
        union all
        select r.job_id, r.step, r.n, k.at
          from audit_record_kept k join audit_result r on r.job_id = k.job_id and r.place = k.place
         where r.ok and k.op = 'insert' and k.epoch = 1) r
    on r.job_id = f.job_id and r.step = f.step and coalesce(f.n, r.n) = r.n
 where f.job_id >= $1 and f.at > r.recorded_at + interval '1 s';
