-- count_by_tag: active jobs by tag and state, for metrics.
select tag as "tag", state::text as "state", count(*)::integer as "jobs" from job group by tag, state;
