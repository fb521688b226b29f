-- list_workers: $1 seconds. Workers that live, and those that ended no longer ago than that.
select id as "id", name as "name", tags as "tags", host as "host", pid as "pid", version as "version", state as "state",
       started_at as "startedAt", stopped_at as "stoppedAt", heartbeat_at as "heartbeatAt",
       extract(epoch from clock_timestamp() - heartbeat_at)::float8 as "silentS", jobs_held as "jobsHeld", jobs_done as "jobsDone",
       counts as "counts"
  from worker
 where state = 'alive' or coalesce(stopped_at, heartbeat_at) > clock_timestamp() - $1::float8 * interval '1 s'
 order by id;
