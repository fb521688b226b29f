-- read_audit_recording: is audit mode on, since when, and how much it has recorded. No row: it never was.
select started_at as "startedAt", ended_at as "endedAt",
       (select count(*) from audit_transition)::float8 as "transitions",
       (select count(*) from audit_refusal)::float8 as "refusals",
       (select sum(pg_total_relation_size(name::regclass))
          from unnest(array['audit_transition', 'audit_end', 'audit_record_kept', 'audit_key', 'audit_worker_state', 'audit_refusal']) as name
       )::float8 as "bytes"
  from audit_recording;
