-- load_artifact_locks: $1 keys. Those with a lock.
select key as "key", lock as "lock" from artifact where key = any ($1::text[]) and lock is not null;
