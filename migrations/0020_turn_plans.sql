-- As before, with plans that do not depend on what was in the tables when they were made: see src/store/statements.ts. Workers of the
-- version before may run beside it.

create or replace function turn_grant(keys text[]) returns text[] language plpgsql as $$
declare
  tags text[];
begin
  with of_key as materialized (
    select k.key,
           (select t.jobs_max from turn t where t.key = k.key and not t.held and t.due_at is null order by t.n limit 1) as most,
           (select count(*) from turn t where t.key = k.key and t.held and (t.free_at is null or t.free_at > clock_timestamp())) as held
      from (select distinct key from unnest(keys) as u (key)) k
  ), next as materialized (
    select few.job_id
      from of_key
     cross join lateral (
       select t.job_id, t.jobs_max, row_number() over (order by t.n) as place
         from (select job_id, jobs_max, n from turn
                where turn.key = of_key.key and not turn.held and turn.due_at is null
                order by n
                limit case when of_key.most is not null then greatest(of_key.most - of_key.held, 0) end) t
     ) few
     where few.jobs_max is null or of_key.held + few.place <= few.jobs_max
  ), taken as (
    update turn set held = true from next where turn.job_id = any (array[next.job_id]) returning turn.job_id
  ), ready as (
    update job set state = 'ready' from taken where job.id = any (array[taken.job_id]) and job.state = 'waiting' returning job.tag
  )
  select array_agg(distinct ready.tag) into tags from ready;
  return tags;
end $$;

create or replace function turn_end(ids uuid[], began timestamptz[]) returns text[] language plpgsql as $$
declare
  keys text[];
begin
  select array_agg(distinct turn.key) into keys from turn where turn.job_id = any (ids);
  if keys is null then return null; end if;
  perform turn_lock(keys);
  update turn set free_at = ended.at + turn.window_ms * interval '1 ms'
    from unnest(ids, began) as ended (id, at)
   where turn.job_id = any (array[ended.id]) and turn.held and ended.at + turn.window_ms * interval '1 ms' > clock_timestamp();
  delete from turn where turn.job_id = any (ids) and turn.free_at is null;
  return turn_grant(keys);
end $$;

create or replace function turn_lock_of(ids uuid[]) returns boolean language plpgsql as $$
begin
  perform turn_lock(array(
    select turn.key from turn where turn.job_id = any (ids)
    union
    select turn.debounce_key from turn where turn.job_id = any (ids)
    union
    select turn.key from job join turn on turn.job_id = any (array[job.id])
     where job.parent_id is not null and job.parent_id = any (ids) and job.part is not null));
  return true;
end $$;

create or replace function turn_due(at timestamptz, most integer) returns text[] language plpgsql as $$
declare
  keys text[];
begin
  select array_agg(distinct due.key) into keys
    from ((select turn.key from turn where turn.due_at <= at order by turn.due_at limit most)
          union all
          (select turn.key from turn where turn.free_at <= at order by turn.free_at limit most)) due;
  if keys is null then return null; end if;
  perform turn_lock(keys);
  delete from turn where turn.free_at <= at and turn.key = any (keys);
  with due as materialized (
    select turn.job_id from turn where turn.due_at <= at and turn.key = any (keys) order by turn.due_at, turn.n for update skip locked
  ), placed as materialized (
    select due.job_id, nextval('turn_n') as n from due
  )
  update turn set due_at = null, n = placed.n from placed where turn.job_id = any (array[placed.job_id]);
  return turn_grant(keys);
end $$;

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
    select turn.job_id into call_id from turn join job on job.id = any (array[turn.job_id])
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

create or replace function turn_join(ids uuid[], ends json[]) returns text[] language plpgsql strict as $$
declare
  tags text[];
  running uuid[];
begin
  with freed as materialized (
    delete from turn using unnest(ids, ends) as over (id, "end") where turn.joins_id = any (array[over.id]) returning turn.job_id, over."end"
  ), told as (
    update job
       set signals = signals + 1, state = case when state = 'waiting' then 'ready'::job_state else state end, run_at = null
      from freed
     where job.id = any (array[freed.job_id])
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
