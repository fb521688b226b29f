-- database_health: what slows the whole engine down when it grows. Sessions of other roles are seen whole by superusers and
-- members of pg_read_all_stats only.
-- The horizon: rows deleted after the oldest snapshot that anyone still needs cannot be removed, so claims step over them. Sessions of
-- other databases of the server hold back theirs only.
with oldest as (
  select pid, coalesce(nullif(application_name, ''), usename, '') as who, extract(epoch from clock_timestamp() - xact_start) as seconds
    from pg_stat_activity
   where datname = current_database() and xact_start is not null and backend_type = 'client backend' and pid <> pg_backend_pid()
   order by xact_start
   limit 1
), holders as (
  select 'pid ' || pid as holder, greatest(age(backend_xmin), age(backend_xid)) as age
    from pg_stat_activity
   where datname = current_database() and (backend_xmin is not null or backend_xid is not null) and pid <> pg_backend_pid()
     and backend_type not in ('autovacuum worker', 'walsender')
  union all
  select 'replication slot ' || slot_name, greatest(age(xmin), age(catalog_xmin)) from pg_replication_slots
  union all
  select 'standby ' || coalesce(nullif(application_name, ''), 'pid ' || pid), age(backend_xmin) from pg_stat_replication
  union all
  select 'prepared transaction ' || gid, age(transaction) from pg_prepared_xacts where database = current_database()
), horizon as (
  select holder, age from holders where age is not null order by age desc limit 1
)
select pg_notification_queue_usage() as "notifyQueueRatio",
       (select max(age(datfrozenxid)) from pg_database)::float8 as "xidAge",
       (select pid from oldest)::text as "oldestPid",
       (select who from oldest) as "oldestWho",
       (select seconds from oldest)::float8 as "oldestTransactionS",
       (select holder from horizon) as "horizonHolder",
       (select age from horizon)::float8 as "horizonAge",
       greatest(0, extract(epoch from clock_timestamp() - (select min(run_at) from job where state = 'parked')))::float8 as "parkedOverdueS";
