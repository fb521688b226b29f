-- due_deletions: $1 now (null in production), $2 limit. Finished jobs of which something is to be deleted now; one that retention took has no
-- status. Not those whose error handler is about to be given what they failed with. `elapsedS`: since its end.
select due.job_id as "id", due.due_at::text as "dueAt", due.whole_s as "wholeS",
       extract(epoch from coalesce($1::timestamptz, clock_timestamp()) - d.completed_at)::float8 as "elapsedS",
       d.status as "status", d.args as "args", d.result as "result", d.steps as "steps", d.part is not null and strpos(d.part, '/') = 0 as "isPart"
  from (select job_id, due_at, whole_s from deletion
         where due_at <= (select coalesce($1::timestamptz, clock_timestamp()))
           and not exists (select from failure where failure.job_id = any (array[deletion.job_id]) and not failure.missed)
         order by due_at limit $2) due
  left join lateral (select * from job_done where id = due.job_id limit 1) d on true;
