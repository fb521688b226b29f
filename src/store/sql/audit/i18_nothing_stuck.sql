-- i18_nothing_stuck: Nothing is stuck: a job that is not over has something that will move it.
-- needs: settle
-- $1 the first job id looked at. While no worker lives nothing moves, and everything will once one does.
with living as materialized (
  select id, tags, jobs_held from worker
   where state = 'alive' and heartbeat_at > clock_timestamp() - lease_ms * interval '1 ms'
), looked as (
  select job.id, job.epoch,
         case job.state
           when 'waiting' then case when job.part is not null and job.started_at is null and exists (select from turn where turn.job_id = job.id)
                                    then null -- I25 has what waits for a turn
                                    when job.part is not null and job.started_at is null
                                    then case when not exists (select from job before
                                                                where before.parent_id = job.parent_id and before.parent_step = job.parent_step
                                                                  and before.parent_slot < job.parent_slot)
                                               and not exists (select from signal
                                                                where signal.job_id = job.parent_id and signal.step = -job.parent_step
                                                                  and not signal.approved)
                                              then 'waits for its turn, and no part is before it' end
                                    when job.run_at is null and job.signals_wanted is null
                                         and not exists (select from turn where turn.job_id = job.id) then 'waits, and nothing will wake it'
                                    when job.run_at <= clock_timestamp() and exists (select from living) then 'waits though its time has come'
                                    when job.signals >= job.signals_wanted then 'waits though it has the signals that it waits for'
                                    when exists (select from signal where signal.job_id = job.id and not signal.approved
                                                    and signal.seq > job.signals_wanted - (select min(wanted) from job_wait where job_wait.job_id = job.id))
                                    then 'waits though it was refused' end
           when 'parked' then case when job.run_at <= clock_timestamp() then 'is parked though its time has come' end
           when 'ready' then case when exists (select from living where jobs_held = 0 and job.tag = any (living.tags))
                                  then 'is ready, and an idle worker of its tag does not take it' end
           when 'running' then case when w.id is null or w.state in ('reaped', 'stopped') then 'runs on a worker that is gone'
                                    when not exists (select from living where living.id = w.id)
                                    then 'runs on a dead worker, and nobody takes it over' end
         end as why
    from job left join worker w on w.id = job.worker_id
   where job.id >= $1 and exists (select from living)
)
select id::text as subject, format('%s (epoch %s)', why, epoch) as detail from looked where why is not null;
