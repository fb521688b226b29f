-- delete_old_workers: workers that ended before $1 (ms since 1970) and hold nothing.
delete from worker where state in ('reaped', 'stopped') and stopped_at < to_timestamp($1::float8 / 1000);
