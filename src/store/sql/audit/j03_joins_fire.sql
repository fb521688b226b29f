-- j03_joins_fire: A job that waits for its parts has some that are not over.
-- $1 the first job id looked at. Whoever waits for anything else has a time.
select id::text as subject, format('waits for %s signals more, and all its parts are over', signals_wanted - signals) as detail
  from job
 where id >= $1 and state = 'waiting' and run_at is null and started_at is not null
   and not exists (select from job part where part.parent_id is not null and part.parent_id = job.id and part.part is not null);
