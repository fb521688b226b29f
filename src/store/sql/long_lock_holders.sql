-- long_lock_holders: $1 tables, $2 ms. Sessions that hold a lock on one of these tables in a transaction older than that: whoever
-- asked for an exclusive lock now would stand before everybody else until they end. (Sessions whose age may not be seen
-- are left out.)
select distinct l.pid
  from pg_locks l join pg_stat_activity a on a.pid = l.pid
 where l.locktype = 'relation' and l.granted and l.pid <> pg_backend_pid()
   and l.database = (select oid from pg_database where datname = current_database())
   and l.relation = any (select to_regclass(name) from unnest($1::text[]) as t (name))
   and a.xact_start < clock_timestamp() - $2::integer * interval '1 ms'
