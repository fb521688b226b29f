-- read_logs_of: $1 ids. What these steps said, one after another.
select coalesce(string_agg(content, '' order by id, n), '') as "text" from job_log where id = any ($1::uuid[]) and channel = 0;
