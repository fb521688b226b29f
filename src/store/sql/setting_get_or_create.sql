-- setting_get_or_create: $1 name, $2 the value if there is none yet. Whoever comes first decides; a second call reads it.
with made as (
  insert into instance_setting (name, value) values ($1, $2) on conflict do nothing returning value
)
select value from made union all select value from instance_setting where name = $1 limit 1;
