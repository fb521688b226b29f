-- count_queue: $1 workspace (null: all), $2 tags (null: all). Jobs not finished: those due and not yet running, those that run, those that
-- wait for answers or for their parts, those that wait for a time, and those that may not begin before others are over.
select (count(*) filter (where state = 'ready'))::integer as "ready", (count(*) filter (where state = 'running'))::integer as "running",
       (count(*) filter (where state = 'waiting' and signals_wanted is not null))::integer as "waiting",
       (count(*) filter (where state = 'parked'))::integer as "parked",
       (count(*) filter (where state = 'waiting' and signals_wanted is null))::integer as "limited"
  from job
 where ($1::text is null or workspace_id = $1) and ($2::text[] is null or tag = any ($2));
