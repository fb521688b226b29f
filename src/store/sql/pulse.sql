-- pulse: how one tag does. $1 tag, $2 smallest id looked at, $3 window in ms: finished jobs and their ms from accepted
-- to finished (99 of 100 took no longer) in that window, and jobs not finished yet.
with finished as (
  select extract(epoch from completed_at) * 1000 - ('x' || substr(id::text, 1, 8) || substr(id::text, 10, 4))::bit(48)::bigint as ms
    from job_done
   where id >= $2 and tag = $1 and completed_at > clock_timestamp() - $3 * interval '1 ms'
)
select (select count(*) from finished)::integer as "finished",
       (select percentile_disc(0.99) within group (order by ms) from finished)::float8 as "p99Ms",
       (select count(*) from job where tag = $1)::integer as "active";
