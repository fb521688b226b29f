-- enqueue_jobs: $1 json [{id, ws, v, tag, p, args, by, w, at, parent, trace}, …]. `at` (ms since 1970) parks the job until then.
-- $2 text[]: tags whose workers are woken by the commit itself, which saves a lone job a round trip.
with added as (
insert into job (id, workspace_id, version_id, tag, priority, args, created_by, waiter, run_at, parent_id, trace, state)
select id, ws, v, tag, coalesce(p, 0), args, by, w, to_timestamp(at / 1000.0), parent, trace,
       case when at is null then 'ready'::job_state else 'parked' end
  from json_to_recordset($1) as x
       (id uuid, ws text, v bigint, tag text, p smallint, args json, by text, w integer, at bigint, parent uuid, trace text)
)
select pg_notify('millrace_work', tag) from unnest($2::text[]) as woken (tag)
