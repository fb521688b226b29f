-- i25_no_free_turn_is_left: No job waits for a turn that is free.
-- needs: settle
-- $1 the first job id looked at. While no worker lives, nobody passes on what is free by time.
select job_id::text as subject, format('waits for a turn of "%s", and %s of %s are taken', key, held, jobs_max) as detail
  from (select distinct on (w.key) w.job_id, w.key, w.jobs_max,
               (select count(*) from turn h where h.key = w.key and h.held and (h.free_at is null or h.free_at > clock_timestamp())) as held
          from turn w
         where not w.held and w.due_at is null
         order by w.key, w.n) first
 where job_id >= $1 and (jobs_max is null or held < jobs_max)
   and exists (select from worker where state = 'alive' and heartbeat_at > clock_timestamp() - lease_ms * interval '1 ms')
union all
select job_id::text, format('its time has come (%s), and nobody looks', due_at)
  from turn
 where job_id >= $1 and due_at < clock_timestamp() - interval '5 s'
   and exists (select from worker where state = 'alive' and heartbeat_at > clock_timestamp() - lease_ms * interval '1 ms');
