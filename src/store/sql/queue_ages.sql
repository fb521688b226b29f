-- queue_ages: for how long the oldest ready job of each tag has been there (in seconds; of one that was parked, since it was
-- due). Steps from tag to tag and from priority to priority through the index job_ready, so a long queue costs no more.
with recursive tags (tag) as (
  (select tag from job where state = 'ready' order by tag limit 1)
  union all
  select (select j.tag from job j where j.state = 'ready' and j.tag > t.tag order by j.tag limit 1)
    from tags t where t.tag is not null
), heads (tag, priority, id, run_at) as (
  select h.tag, h.priority, h.id, h.run_at
    from tags t cross join lateral (
      select j.tag, j.priority, j.id, j.run_at from job j
       where j.state = 'ready' and j.tag = t.tag order by j.priority desc, j.id limit 1
    ) h
  union all
  select n.tag, n.priority, n.id, n.run_at
    from heads h cross join lateral (
      select j.tag, j.priority, j.id, j.run_at from job j
       where j.state = 'ready' and j.tag = h.tag and j.priority < h.priority order by j.priority desc, j.id limit 1
    ) n
), since as (
  select tag, greatest(run_at, to_timestamp(('x' || substr(id::text, 1, 8) || substr(id::text, 10, 4))::bit(48)::bigint / 1000.0)) as at
    from heads
)
select tag as "tag", greatest(0, extract(epoch from clock_timestamp() - min(at)))::float8 as "oldestReadyS" from since group by tag;
