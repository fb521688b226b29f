-- queue_depths: active jobs by tag.
select tag, count(*)::integer as jobs from job group by tag
