-- restart_job: $1 json {id, of, ws, v, tag, p, by, at, parent, trace, key, signals, from_step, from_slot}, $2 json: the records it begins
-- with. A new job with the arguments of a finished one and a journal of its own, in one transaction. Returns its id, or the one of
-- the job that has the key; nothing, if the old job went with its day, or another transaction took the key just now.
with asked as materialized (
  select id, "of", ws, v, tag, p, by, at, parent, trace, key, signals, from_step, from_slot
    from json_to_record($1) as x
         (id uuid, "of" uuid, ws text, v bigint, tag text, p smallint, by text, at bigint, parent uuid, trace text, key text,
          signals integer, from_step text, from_slot integer)
), named as (
  insert into job_key (workspace_id, key, job_id)
  select asked.ws, asked.key, asked.id from asked
    join job_done d on d.id = asked."of" and d.workspace_id = asked.ws
   where asked.key is not null
  on conflict do nothing
  returning job_id
), added as (
  insert into job (id, workspace_id, version_id, tag, priority, args, created_by, run_at, parent_id, trace, state, journaled, signals)
  select asked.id, asked.ws, asked.v, asked.tag, asked.p, d.args, asked.by, to_timestamp(asked.at / 1000.0), asked.parent, asked.trace,
         case when asked.at is null then 'ready'::job_state else 'parked' end, json_array_length($2) > 0, asked.signals
    from asked join job_done d on d.id = asked."of" and d.workspace_id = asked.ws
   where asked.key is null or exists (select from named)
  returning id
), kept as (
  insert into job_journal (job_id, n, record)
  select added.id, e.n, e.record from added, json_array_elements($2) with ordinality as e (record, n)
), linked as (
  insert into job_replay (job_id, replay_of, created_by, from_step, from_slot)
  select asked.id, asked."of", asked.by, asked.from_step, asked.from_slot from asked join added on added.id = asked.id
)
select id as "id" from added
union all
select job_key.job_id from asked join job_key on job_key.workspace_id = asked.ws and job_key.key = asked.key
 where not exists (select from added);
