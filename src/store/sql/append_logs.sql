-- append_logs: $1 json [{id, c, n, t}, …]: pieces of output (c: channel) of steps.
insert into job_log (id, channel, n, content)
select id, c, n, t from json_to_recordset($1) as l (id uuid, c smallint, n integer, t text)
on conflict do nothing
