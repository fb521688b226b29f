-- Turns: how many jobs of a key may be under way, and jobs that absorb later ones. Workers of the version before must be stopped
-- first where a version limits its jobs: they end such a job without passing its turn on.

-- What a version asks of its jobs before they are ready: src/core/flow/turns.ts. Null: nothing.
alter table flow_version add column turns json;

-- Jobs of such versions, from when they are accepted until their turn is free for another. A job without one is in state 'waiting'.
create sequence turn_n;
create table turn (
  job_id uuid primary key,
  key text not null,
  n bigint not null default nextval('turn_n'), -- the order in which they get it
  jobs_max integer, -- how many of the key have one at a time; null: no limit
  window_ms bigint, -- one is not free again before so long after its job's start
  held boolean not null default false,
  due_at timestamptz, -- it does not get one before
  free_at timestamptz, -- its job is over, and this is when the turn is free
  debounce_key text, -- until it is due, the job absorbs others of this key
  debounced integer not null default 0, -- how many it has
  accepted_at timestamptz not null default clock_timestamp()
);
create index turn_waiting on turn (key, n) where not held and due_at is null;
create index turn_held on turn (key) where held;
create index turn_due on turn (due_at) where due_at is not null;
create index turn_free on turn (free_at) where free_at is not null;
create index turn_debounce on turn (debounce_key) where debounce_key is not null and due_at is not null;

-- Whoever gives, takes or frees turns of these keys comes one after another, until the transaction ends. 256 locks for all keys, so
-- that no batch has too many; in one order, so that nobody waits in a circle. Always before the rows of jobs that wait are locked.
create function turn_lock(keys text[]) returns void language plpgsql as $$
declare
  slot integer;
begin
  for slot in select distinct hashtext(key) & 255 from unnest(keys) as k (key) where key is not null order by 1 loop
    perform pg_advisory_xact_lock(29813, slot);
  end loop;
end $$;

-- Gives the turns of these keys that are free, in order, and makes their jobs ready. Gives the tags of those. After turn_lock, as a
-- statement of its own: only a snapshot that is younger than the lock sees what the last one who had it did. (That is why these are
-- functions.)
create function turn_grant(keys text[]) returns text[] language plpgsql as $$
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
    update turn set held = true from next where turn.job_id = next.job_id returning turn.job_id
  ), ready as (
    update job set state = 'ready' from taken where job.id = taken.job_id and job.state = 'waiting' returning job.tag
  )
  select array_agg(distinct ready.tag) into tags from ready;
  return tags;
end $$;

-- These jobs are over, and began then (null: never): their turns are free, now or when their window is over. Gives the tags of jobs
-- that are ready for it. Jobs that have no turn do not matter.
create function turn_end(ids uuid[], began timestamptz[]) returns text[] language plpgsql as $$
declare
  keys text[];
begin
  select array_agg(distinct turn.key) into keys from turn where turn.job_id = any (ids);
  if keys is null then return null; end if;
  perform turn_lock(keys);
  update turn set free_at = ended.at + turn.window_ms * interval '1 ms'
    from unnest(ids, began) as ended (id, at)
   where turn.job_id = ended.id and turn.held and ended.at + turn.window_ms * interval '1 ms' > clock_timestamp();
  delete from turn where turn.job_id = any (ids) and turn.free_at is null;
  return turn_grant(keys);
end $$;

-- Before a job that may wait for its turn is taken away: see turn_lock. True.
create function turn_lock_of(id uuid) returns boolean language plpgsql as $$
begin
  perform turn_lock(array(select turn.key from turn where turn.job_id = id and not turn.held));
  return true;
end $$;

-- At most `most` turns whose time has come: those to be given are, and those of windows that are over are free. Gives the tags of
-- jobs that are ready for it. What is being postponed at this moment (turn_accept) is left to the next time.
create function turn_due(at timestamptz, most integer) returns text[] language plpgsql as $$
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
  update turn set due_at = null, n = placed.n from placed where turn.job_id = placed.job_id;
  return turn_grant(keys);
end $$;

-- `later`, with the arrays of these names made of both.
create function turn_merged(earlier json, later json, names text[]) returns json language sql immutable as $$
  select case when coalesce(cardinality(names), 0) = 0 or json_typeof(later) <> 'object' then later else (
    select coalesce(json_object_agg(field.key,
             case when field.key = any (names) and json_typeof(field.value) = 'array' and json_typeof(earlier -> field.key) = 'array'
                  then (select coalesce(json_agg(item.value order by item.side, item.place), '[]')
                          from (select 1, e.value, e.place from json_array_elements(earlier -> field.key) with ordinality as e (value, place)
                                union all
                                select 2, e.value, e.place from json_array_elements(field.value) with ordinality as e (value, place))
                               as item (side, value, place))
                  else field.value end), '{}')
      from json_each(later) as field)
  end
$$;

-- Accepts jobs of which some have a turn to wait for: [{…as enqueue_jobs, i, key?, turn?: {key, max?, window?, debounce?: {key, ms,
-- within?, amount?, merge?}}}, …] (times in ms). A key that is taken starts nothing; nor does a job that another one absorbs. Gives for
-- each the id of the job it became, and the tags of those that are ready.
create function turn_accept(batch json) returns table (asked_id uuid, job_id uuid, tag text) language plpgsql as $$
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
           (x.turn -> 'debounce' ->> 'ms')::float8 * interval '1 ms' as delay,
           (x.turn -> 'debounce' ->> 'within')::float8 * interval '1 ms' as within,
           (x.turn -> 'debounce' ->> 'amount')::integer as amount
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
      update turn
         set due_at = case when turn.debounced + 1 >= one.amount then clock_timestamp()
                           else least(clock_timestamp() + one.delay, turn.accepted_at + one.within) end,
             debounced = turn.debounced + 1,
             key = one.turn ->> 'key', jobs_max = (one.turn ->> 'max')::integer, window_ms = (one.turn ->> 'window')::bigint
       where turn.job_id = into_id;
      update job
         set args = turn_merged(job.args, one.args, array(select json_array_elements_text(one.debounce -> 'merge')))
       where job.id = into_id;
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

-- A job that waits is woken by a signal or its turn, a job that ran may wait.
create or replace function audit_job_updated() returns trigger language plpgsql set enable_nestloop = off as $$
begin
  insert into audit_transition (job_id, cause, from_state, to_state, from_epoch, to_epoch, from_worker, to_worker, lost, version_id, run_at)
  select o.id,
         case
           when o.state = 'ready' and n.state = 'running' then 'claimed'
           when o.state = 'running' and n.state = 'ready' and n.lost > o.lost then 'lost'
           when o.state = 'running' and n.state = 'ready' then 'released'
           when o.state = 'running' and n.state in ('parked', 'waiting') then 'parked'
           when o.state in ('parked', 'waiting') and n.state = 'ready' then 'due'
           when o.state = n.state and o.epoch = n.epoch and o.canceled_by is distinct from n.canceled_by then 'cancel_asked'
           else 'other'
         end,
         o.state, n.state, o.epoch, n.epoch, o.worker_id, n.worker_id, n.lost, n.version_id, n.run_at
    from old_rows o join new_rows n on o.id = n.id
   where (o.state, o.epoch, o.worker_id, o.lost, o.version_id, o.canceled_by)
         is distinct from (n.state, n.epoch, n.worker_id, n.lost, n.version_id, n.canceled_by);
  return null;
end $$;
