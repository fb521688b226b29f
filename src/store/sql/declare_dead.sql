-- declare_dead: workers whose lease is over are dead, and so are those whose advisory lock ($2: its class) nobody holds and
-- that have missed a heartbeat ($3 ms). $1: now (null in production). From here on such a worker claims nothing; its jobs
-- are given back by the next statement (give_back_jobs), whose snapshot is newer than its last claim.
-- After a restart of the database nobody could have kept its lock or its heartbeat: leases count from the restart, and the
-- lock is looked at again 5 s later.
-- Returns those, and any that were declared dead before but whose jobs nobody has given back yet.
with gone as (
  update worker
     set state = 'dead', stopped_at = clock_timestamp()
   where state = 'alive'
     and (greatest(heartbeat_at, pg_postmaster_start_time()) < coalesce($1::timestamptz, clock_timestamp()) - lease_ms * interval '1 ms'
          or (hint_lock
              and greatest(heartbeat_at, pg_postmaster_start_time() + interval '5 s')
                  < coalesce($1::timestamptz, clock_timestamp()) - $3::integer * interval '1 ms'
              and not exists (
                select from pg_locks
                 where locktype = 'advisory' and classid = $2::integer::oid and objid = worker.id::oid and objsubid = 2
                   and database = (select oid from pg_database where datname = current_database()))))
  returning id
)
select id from gone
union all
select id from worker where state = 'dead'
