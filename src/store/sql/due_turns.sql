-- due_turns: turns whose time has come, at most $2: their jobs are ready, or wait for one that is free. $1: now (null in production).
-- Returns the tags of those that are ready.
select distinct tag as "tag" from unnest(turn_due(coalesce($1::timestamptz, clock_timestamp()), $2)) as due (tag)
