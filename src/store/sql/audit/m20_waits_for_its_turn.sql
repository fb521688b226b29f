-- m20_waits_for_its_turn: A job of a limited version has a turn, or waits for one.
-- $1 the first job id looked at. While a job waits for anything else it keeps its turn. A part that is
-- a whole flow has one as any job of that flow; the others run in the turn of their job. A part that was told to stop waits for none.
select job.id::text as subject,
       case when turn.job_id is null then format('is %s, and has no turn to wait for', state)
            when not turn.held then format('is %s without having its turn', state)
            else 'has its turn, and waits for it' end as detail
  from job
  join flow_version v on v.id = job.version_id
  left join turn on turn.job_id = job.id
 where job.id >= $1 and v.turns is not null and (job.part is null or job.part like '/%' and job.canceled_by is null)
   and (turn.job_id is null
        or not turn.held and job.state <> 'waiting'
        or turn.held and job.state = 'waiting' and job.signals_wanted is null);
