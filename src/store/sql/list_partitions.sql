-- list_partitions: the daily tables of job_done and job_log, and those that were detached but not yet dropped.
select c.relname as name, c.relispartition as attached
  from pg_class c
 where c.relnamespace = current_schema()::regnamespace and c.relkind = 'r' and c.relname ~ '^job_(done|log)_\d{8}$'
 order by c.relname;
