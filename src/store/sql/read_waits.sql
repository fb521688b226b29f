-- read_waits: $1 ids. How long these jobs still have to wait, in ms by the database's clock.
select job_id, key, (extract(epoch from until - clock_timestamp()) * 1000)::float8 as "ms"
  from job_wait where job_id = any ($1::uuid[])
