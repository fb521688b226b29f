-- count_ready_before: $1 id. Ready jobs that were accepted before it.
select count(*)::integer as "jobs" from job where state = 'ready' and id < $1;
