-- heartbeat: worker $1 lives and holds $2 jobs, has finished $3, and counts more ($4: see the column). No row: it was declared dead, and must start again.
update worker set heartbeat_at = clock_timestamp(), jobs_held = $2, jobs_done = $3, counts = $4
 where id = $1 and state = 'alive'
returning id
