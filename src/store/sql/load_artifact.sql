-- load_artifact: $1 key.
select key as "key", language as "language", content as "content", lock as "lock" from artifact where key = $1;
