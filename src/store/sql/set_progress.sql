-- set_progress: step $1 is $2 percent done.
insert into job_progress (id, percent) values ($1, $2)
on conflict (id) do update set percent = excluded.percent, at = clock_timestamp()
