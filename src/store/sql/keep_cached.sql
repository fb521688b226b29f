-- keep_cached: $1 json [{key, ms, result}, …], each key once: keeps results for so long. The last one to come stays.
insert into result_cache (key, result, expires_at)
select key, coalesce(result, 'null'), clock_timestamp() + ms * interval '1 ms'
  from json_to_recordset($1) as x (key text, ms float8, result json)
 order by key
on conflict (key) do update set result = excluded.result, expires_at = excluded.expires_at
