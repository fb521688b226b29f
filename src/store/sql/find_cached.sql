-- find_cached: $1 keys. Results kept under them whose time is not over.
select key as "key", result as "result" from result_cache where key = any ($1::text[]) and expires_at > clock_timestamp()
