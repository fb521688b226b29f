-- Steps that are debounced: a job runs in the place of several steps (turn_parts), and they are told how it ended (turn_join). Workers and
-- servers of the version before must be stopped first where flows have such steps.

-- Of a step's job that does not run: the one that does in its place. Its key is the one that both are debounced by, and its time never comes.
alter table turn add column joins_id uuid;
create index turn_joins on turn (joins_id) where joins_id is not null;

-- Before these jobs are taken away, and their parts told to stop: see turn_lock. What they absorb by, too: whoever was debounced into one
-- of them is told. True.
create or replace function turn_lock_of(ids uuid[]) returns boolean language plpgsql as $$
begin
  perform turn_lock(array(
    select turn.key from turn where turn.job_id = any (ids)
    union
    select turn.debounce_key from turn where turn.job_id = any (ids)
    union
    select turn.key from job join turn on turn.job_id = job.id
     where job.parent_id is not null and job.parent_id = any (ids) and job.part is not null));
  return true;
end $$;

-- A job that waits absorbs one of these arguments, with the turn that it asked for.
create function turn_absorb(into_id uuid, later json, asked json) returns void language plpgsql as $$
declare
  debounce json := asked -> 'debounce';
  delay interval := (debounce ->> 'ms')::float8 * interval '1 ms';
  within interval := (debounce ->> 'within')::float8 * interval '1 ms';
begin
  update turn
     set due_at = case when turn.debounced + 1 >= (debounce ->> 'amount')::integer then clock_timestamp()
                       else least(clock_timestamp() + delay, turn.accepted_at + within) end,
         debounced = turn.debounced + 1,
         key = asked ->> 'key', jobs_max = (asked ->> 'max')::integer, window_ms = (asked ->> 'window')::bigint
   where turn.job_id = into_id;
  update job
     set args = turn_merged(job.args, later, array(select json_array_elements_text(debounce -> 'merge')))
   where job.id = into_id;
end $$;

-- Accepts jobs of which some have a turn to wait for: [{…as enqueue_jobs, i, key?, turn?: {key, max?, window?, debounce?: {key, ms,
-- within?, amount?, merge?}}}, …] (times in ms). A key that is taken starts nothing; nor does a job that another one absorbs. Gives for
-- each the id of the job it became, and the tags of those that are ready.
create or replace function turn_accept(batch json) returns table (asked_id uuid, job_id uuid, tag text) language plpgsql as $$
#variable_conflict use_column
declare
  keys text[];
  one record;
  into_id uuid;
begin
  select array_agg(distinct x.turn ->> 'key') into keys from json_to_recordset(batch) as x (turn json);
  perform turn_lock(keys || array(select distinct x.turn -> 'debounce' ->> 'key' from json_to_recordset(batch) as x (turn json)));

  -- A row for each: the simple ones at once.
  return query
  with asked as materialized (
    select x.* from json_to_recordset(batch) as x
           (i integer, id uuid, ws text, v bigint, tag text, p smallint, args json, by text, w integer, at bigint, parent uuid, trace text,
            key text, turn json)
     where x.turn -> 'debounce' is null
  ), named as (
    insert into job_key (workspace_id, key, job_id)
    select ws, key, id from asked where key is not null order by ws, key
    on conflict do nothing
    returning job_key.job_id
  ), mine as materialized (
    select asked.* from asked left join named on named.job_id = asked.id where asked.key is null or named.job_id is not null
  ), added as (
    insert into job (id, workspace_id, version_id, tag, priority, args, created_by, waiter, run_at, parent_id, trace, state)
    select id, ws, v, tag, coalesce(p, 0), args, by, w, case when turn is null then to_timestamp(at / 1000.0) end, parent, trace,
           case when turn is not null then 'waiting'::job_state when at is null then 'ready' else 'parked' end
      from mine
  ), queued as (
    insert into turn (job_id, key, jobs_max, window_ms, due_at)
    select id, turn ->> 'key', (turn ->> 'max')::integer, (turn ->> 'window')::bigint,
           case when to_timestamp(at / 1000.0) > clock_timestamp() then to_timestamp(at / 1000.0) end
      from mine where turn is not null order by i
  )
  select mine.id, mine.id, null::text from mine
  union all
  select null, null, mine.tag from mine where mine.turn is null and mine.at is null;

  -- Those that may be absorbed, one after another.
  for one in
    select x.*, x.by as creator, x.turn -> 'debounce' as debounce,
           (x.turn -> 'debounce' ->> 'ms')::float8 * interval '1 ms' as delay
      from json_to_recordset(batch) as x
           (i integer, id uuid, ws text, v bigint, tag text, p smallint, args json, by text, w integer, at bigint, parent uuid, trace text,
            key text, turn json)
     where x.turn -> 'debounce' is not null
     order by x.i
  loop
    into_id := null;
    select turn.job_id into into_id from turn
     where turn.debounce_key = one.debounce ->> 'key' and turn.due_at > clock_timestamp()
       for update;
    if one.key is not null then
      insert into job_key (workspace_id, key, job_id) values (one.ws, one.key, coalesce(into_id, one.id)) on conflict do nothing;
      if not found then
        return query select one.id, k.job_id, null::text from job_key k where k.workspace_id = one.ws and k.key = one.key;
        continue;
      end if;
    end if;
    if into_id is null then
      into_id := one.id;
      insert into job (id, workspace_id, version_id, tag, priority, args, created_by, waiter, parent_id, trace, state)
      values (one.id, one.ws, one.v, one.tag, coalesce(one.p, 0), one.args, one.creator, one.w, one.parent, one.trace, 'waiting');
      insert into turn (job_id, key, jobs_max, window_ms, due_at, debounce_key)
      values (one.id, one.turn ->> 'key', (one.turn ->> 'max')::integer, (one.turn ->> 'window')::bigint,
              greatest(clock_timestamp() + one.delay, to_timestamp(one.at / 1000.0)), one.debounce ->> 'key');
    else
      perform turn_absorb(into_id, one.args, one.turn);
    end if;
    return query select one.id, into_id, null::text;
  end loop;

  -- Keys that were taken, also a moment ago.
  return query
  select x.id, k.job_id, null::text
    from json_to_recordset(batch) as x (id uuid, ws text, key text, turn json)
    join job_key k on k.workspace_id = x.ws and k.key = x.key
   where k.job_id <> x.id and x.turn -> 'debounce' is null;

  return query select null::uuid, null::uuid, t.tag from unnest(turn_grant(keys)) as t (tag);
end $$;

-- Makes parts that have a turn to wait for: [{i, id, ws, v, tag, p, args, by, trace, parent, step, slot, part, turn: {key, max?, window?,
-- debounce?}, call?}, …], which they get in the order of i. Gives the tags of jobs that are ready. Null: no parts.
-- One that is debounced does not run. Another job does, in its place and in that of all others that were debounced with it: `call`, a
-- part of none, or the one that waits already. It is recorded as what the part has become, and its end is told to all (turn_join).
create or replace function turn_parts(batch json) returns text[] language plpgsql strict as $$
declare
  keys text[];
  one record;
  call_id uuid;
begin
  select array_agg(distinct x.turn ->> 'key') into keys from json_to_recordset(batch) as x (turn json);
  perform turn_lock(keys || array(select distinct x.turn -> 'debounce' ->> 'key' from json_to_recordset(batch) as x (turn json)));
  insert into job (id, workspace_id, version_id, tag, priority, args, created_by, trace, parent_id, parent_step, parent_slot, part, state)
  select id, ws, v, tag, p, args, by, trace, parent, step, slot, part, 'waiting'
    from json_to_recordset(batch) as x
         (id uuid, ws text, v bigint, tag text, p smallint, args json, by text, trace text, parent uuid, step integer, slot integer, part text,
          turn json)
   where turn -> 'debounce' is null;
  insert into turn (job_id, key, jobs_max, window_ms)
  select id, turn ->> 'key', (turn ->> 'max')::integer, (turn ->> 'window')::bigint
    from json_to_recordset(batch) as x (i integer, id uuid, turn json)
   where turn -> 'debounce' is null
   order by i;

  for one in
    select x.id, x.ws, x.v, x.tag, x.p, x.args, x.by as creator, x.trace, x.parent, x.step, x.slot, x.part, x.turn, x.call,
           x.turn -> 'debounce' ->> 'key' as debounce_key, (x.turn -> 'debounce' ->> 'ms')::float8 * interval '1 ms' as delay
      from json_to_recordset(batch) as x
           (i integer, id uuid, ws text, v bigint, tag text, p smallint, args json, by text, trace text, parent uuid, step integer,
            slot integer, part text, turn json, call uuid)
     where x.turn -> 'debounce' is not null
     order by x.i
  loop
    select turn.job_id into call_id from turn join job on job.id = turn.job_id
     where turn.debounce_key = one.debounce_key and turn.due_at > clock_timestamp() and job.state = 'waiting' and job.canceled_by is null
       for update of turn;
    if call_id is null then
      call_id := one.call;
      insert into job (id, workspace_id, version_id, tag, priority, args, created_by, trace, part, state)
      values (call_id, one.ws, one.v, one.tag, one.p, one.args, one.creator, one.trace, one.part, 'waiting');
      insert into turn (job_id, key, jobs_max, window_ms, due_at, debounce_key)
      values (call_id, one.turn ->> 'key', (one.turn ->> 'max')::integer, (one.turn ->> 'window')::bigint,
              clock_timestamp() + one.delay, one.debounce_key);
    else
      perform turn_absorb(call_id, one.args, one.turn);
    end if;
    insert into job (id, workspace_id, version_id, tag, priority, args, created_by, trace, parent_id, parent_step, parent_slot, part, state,
                     journaled, signals_wanted)
    values (one.id, one.ws, one.v, one.tag, one.p, one.args, one.creator, one.trace, one.parent, one.step, one.slot, '@' || one.part,
            'waiting', true, 1);
    insert into job_journal (job_id, n, record)
    values (one.id, 1, json_build_object('k', 'spread', 's', split_part(one.part, '/', 1), 'n', 1, 'jobs', 1, 'job', call_id));
    insert into turn (job_id, key, due_at, joins_id) values (one.id, one.debounce_key, 'infinity', call_id);
  end loop;
  return turn_grant(keys);
end $$;

-- These jobs are over, and ended so: all that were debounced into one of them are told, by a signal each. Gives the tags of those that are
-- ready for it. After turn_lock of the keys that they were debounced by, and a function for the same reason as turn_grant.
create function turn_join(ids uuid[], ends json[]) returns text[] language plpgsql strict as $$
declare
  tags text[];
  running uuid[];
begin
  with freed as materialized (
    delete from turn using unnest(ids, ends) as over (id, "end") where turn.joins_id = over.id returning turn.job_id, over."end"
  ), told as (
    update job
       set signals = signals + 1, state = case when state = 'waiting' then 'ready'::job_state else state end, run_at = null
      from freed
     where job.id = freed.job_id
    returning job.id, job.tag, job.state, job.signals
  ), sent as (
    insert into signal (job_id, seq, step, resume_id, approved, payload)
    select told.id, told.signals, -1, 0, true, freed."end" from told join freed on freed.job_id = told.id
  )
  select array_agg(distinct told.tag) filter (where told.state = 'ready'), array_agg(told.id) filter (where told.state = 'running')
    into tags, running
    from told;
  perform pg_notify('millrace_control', 'signal ' || id) from unnest(running) as r (id);
  return tags;
end $$;
