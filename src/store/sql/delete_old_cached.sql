-- delete_old_cached: results whose time is over.
delete from result_cache where expires_at < clock_timestamp()
