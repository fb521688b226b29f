-- spread_jobs: as append_journal, for records that jobs come with: $1 worker_id, $2 json [{id, epoch, n, record, step, part, v, at_once,
-- jobs: [{id, slot, args, tag?, priority?, turn?, call?}, …]}, …]; records that go before those have no more than append_journal's. The
-- parts of a loop, or the one of a step apart, durable with the record that says so, and once: where the record is there already, so are
-- they. `at_once` of them are ready, the others wait for their turn; those with a `turn` for one among jobs (turn_parts). `tag`,
-- `priority`: missing, their job's.
-- The share lock on the worker's row: see claim_jobs. What a dead worker's job left is all there when it is looked for.
with me as materialized (
  select id from worker where id = $1 and state = 'alive' for share
), fact as materialized (
  select id, epoch, n, record, step, part, v, at_once, jobs
    from json_to_recordset($2) as f
         (id uuid, epoch integer, n integer, record json, step integer, part text, v bigint, at_once integer, jobs json)
), asked as materialized (
  select distinct id, epoch from fact
), locked as materialized (
  -- Before any row of job: whoever has one of these, and waits for a row, would be waited for.
  select turn_lock(array(
    select unnest(array[new.turn ->> 'key', new.turn -> 'debounce' ->> 'key'])
      from fact, json_to_recordset(fact.jobs) as new (turn json) where new.turn is not null))
), ours as materialized (
  select job.id, job.epoch, job.workspace_id, job.tag, job.priority, job.created_by, job.trace
    from job join asked on job.id = any (array[asked.id])
   where job.worker_id = $1 and job.epoch = asked.epoch and job.state = 'running' and exists (select from me) and exists (select from locked)
   order by asked.id
     for no key update of job
), marked as (
  update job set journaled = true from ours where job.id = any (array[ours.id]) and not job.journaled
), kept as (
  insert into job_journal (job_id, n, record)
  select fact.id, fact.n, fact.record from fact join ours on fact.id = ours.id and fact.epoch = ours.epoch
  on conflict do nothing
  returning job_id, n
), made as materialized (
  select new.id, new.slot, new.args, coalesce(new.tag, ours.tag) as tag, new.turn, new.call, fact.v, fact.step, fact.part, fact.at_once,
         ours.id as parent, ours.workspace_id, coalesce(new.priority, ours.priority) as priority, ours.created_by, ours.trace
    from kept
    join ours on ours.id = kept.job_id
    join fact on fact.id = kept.job_id and fact.n = kept.n,
         json_to_recordset(fact.jobs) as new (id uuid, slot integer, args json, tag text, priority smallint, turn json, call uuid)
), added as (
  insert into job (id, workspace_id, version_id, tag, priority, args, created_by, trace, parent_id, parent_step, parent_slot, part, state)
  select id, workspace_id, v, tag, priority, args, created_by, trace, parent, step, slot, part,
         case when slot < at_once then 'ready'::job_state else 'waiting' end
    from made
   where turn is null
  returning tag
), queued as materialized (
  select turn_parts(json_agg(json_build_object(
           'i', i, 'id', id, 'ws', workspace_id, 'v', v, 'tag', tag, 'p', priority, 'args', args, 'by', created_by, 'trace', trace,
           'parent', parent, 'step', step, 'slot', slot, 'part', part, 'turn', turn, 'call', call))) as tags
    from (select made.*, row_number() over (order by parent, step, slot) as i from made where turn is not null) as turned
)
select asked.id from asked where not exists (select from ours where ours.id = asked.id)
union all
select null
  from (
    select pg_notify('millrace_work', '* ' || tag)
      from (select tag from added
            union select unnest(tags) from queued) as ready
  ) as told
