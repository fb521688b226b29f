-- worker_locked: worker $1 holds its advisory lock now (session-level, class $2), so its loss can be noticed at once.
update worker set hint_lock = pg_try_advisory_lock($2::integer, id) where id = $1 and state = 'alive' returning hint_lock
