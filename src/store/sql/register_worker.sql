-- register_worker: a new incarnation of a worker. Without its advisory lock yet, so hint_lock is off until it holds it.
insert into worker (name, tags, host, pid, version, lease_ms, hint_lock)
values ($1, $2, $3, $4, $5, $6, false)
returning id
