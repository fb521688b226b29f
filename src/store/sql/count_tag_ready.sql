-- count_tag_ready: $1 tag, $2 at most so many. How many ready jobs a tag has, counted no further than asked.
select count(*)::integer as "jobs" from (select from job where tag = $1 and state = 'ready' limit $2) few;
