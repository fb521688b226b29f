-- heartbeat: worker $1 lives and holds $2 jobs, has finished $3. No row: it was declared dead, and must start again.
update worker set heartbeat_at = clock_timestamp(), jobs_held = $2, jobs_done = $3
 where id = $1 and state = 'alive'
returning id
