-- history/add_effects: $1 json [{job, step, n, at}, …], at in ms since 1970.
insert into history_effect (job_id, step, n, at)
select job, step, n, to_timestamp(at / 1000.0)
  from json_to_recordset($1) as f (job uuid, step text, n integer, at float8)
