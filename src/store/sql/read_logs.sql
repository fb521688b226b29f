-- read_logs: $1 first id, $2 last id, $3 channel, $4 characters to leave out. What these steps said, and how long it is in all.
with said as (
  select coalesce(string_agg(content, '' order by id, n), '') as text from job_log where id between $1 and $2 and channel = $3
)
select substr(text, $4::integer + 1) as "text", length(text) as "length" from said;
