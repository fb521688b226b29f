-- stop_worker: worker $1 has given everything back and leaves.
update worker set state = 'stopped', stopped_at = clock_timestamp(), jobs_held = 0 where id = $1 and state = 'alive'
