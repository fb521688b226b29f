-- enqueue_keyed_jobs: as enqueue_jobs, for jobs whose caller named them (`key`, unique in its workspace): a key already
-- taken starts nothing. $1 holds each key once. Returns for each the id of its job; null where another transaction took
-- the key after this statement began: ask again.
with asked as materialized (
  select id, ws, v, tag, p, args, by, w, at, parent, trace, key
    from json_to_recordset($1) as x
         (id uuid, ws text, v bigint, tag text, p smallint, args json, by text, w integer, at bigint, parent uuid, trace text, key text)
), named as (
  insert into job_key (workspace_id, key, job_id)
  select ws, key, id from asked order by ws, key
  on conflict do nothing
  returning job_id
), added as (
  insert into job (id, workspace_id, version_id, tag, priority, args, created_by, waiter, run_at, parent_id, trace, state)
  select id, ws, v, tag, coalesce(p, 0), args, by, w, to_timestamp(at / 1000.0), parent, trace,
         case when at is null then 'ready'::job_state else 'parked' end
    from asked join named on asked.id = named.job_id
)
select asked.id as asked_id, coalesce(named.job_id, job_key.job_id) as job_id
  from asked
  left join named on named.job_id = asked.id
  left join job_key on job_key.workspace_id = any (array[asked.ws]) and job_key.key = any (array[asked.key])
