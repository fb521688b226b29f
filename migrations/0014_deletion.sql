-- What delete_after_secs takes of finished jobs. Workers of the version before can run beside it: they write nothing down to be deleted,
-- and refuse nothing, so jobs of such flows that they run are kept as long as others.

alter table job_done add column deleted text; -- 'all' of its arguments, result and steps; or 'some' of its steps; null: nothing

-- Finished jobs of which something is to be deleted. Upkeep does it: src/worker/afterwards.ts.
create table deletion (
  job_id uuid primary key,
  due_at timestamptz not null,
  whole_s integer -- all of it goes so many seconds after its end; null: some of its steps do
);
create index deletion_due on deletion (due_at);

-- What a job that ends without a worker is to have deleted: all of it after `whole_s`, the first of it after `first_s`; null: nothing.
create function deletion_of(version bigint, records json, out first_s integer, out whole_s integer) language sql stable as $$
  select least(whole.s, steps.s), whole.s
    from (select min((record ->> 'd')::integer) as s from json_array_elements(records) as e (record)) steps
    left join (select greatest((value ->> 'delete_after_secs')::integer, 5) as s from flow_version
                where id = version and value ->> 'delete_after_secs' is not null) whole
      on true
$$;

-- 'deleted': only what delete_after_secs takes.
create or replace function audit_end_changed() returns trigger language plpgsql as $$
begin
  insert into audit_end (job_id, op, status, worker_id, lost, version_id)
  select id, case when tg_op = 'UPDATE' and deleted is not null then 'deleted' else lower(tg_op) end, status, worker_id, lost, version_id
    from changed_rows;
  return null;
end $$;
