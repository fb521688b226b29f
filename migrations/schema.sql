-- The whole schema, for reading: what the migrations together make. It is never applied to a database of yours; a test
-- compares the two. Change both: a new migration for databases that exist, and this page for whoever reads.
-- Not shown: the table `migration`, in which src/store/migrate.ts keeps what was applied, and the daily partitions of
-- job_done and job_log, which src/store/partitions.ts makes (job_done_20261122, and so on).

create table workspace (
  id text primary key check (id ~ '^[a-z0-9][a-z0-9_-]{0,49}$'),
  name text not null,
  created_at timestamptz not null default clock_timestamp(),
  archived boolean not null default false,
  error_handler json -- {path: 'script/…' | 'flow/…', extra_args, muted_on_cancel, muted_on_user_path}; null: none
);

create table account (
  email text primary key,
  username text not null unique,
  super_admin boolean not null default false,
  created_at timestamptz not null default clock_timestamp()
);

create table member (
  workspace_id text not null references workspace,
  email text not null references account on delete cascade,
  is_admin boolean not null default false,
  operator boolean not null default false,
  created_at timestamptz not null default clock_timestamp(),
  primary key (workspace_id, email)
);

-- Groups of members. The group all has no row: it contains every member.
create table workspace_group (
  workspace_id text not null references workspace,
  name text not null,
  summary text not null default '',
  created_at timestamptz not null default clock_timestamp(),
  primary key (workspace_id, name)
);

create table group_member (
  workspace_id text not null,
  name text not null,
  email text not null,
  primary key (workspace_id, name, email),
  foreign key (workspace_id, name) references workspace_group on delete cascade,
  foreign key (workspace_id, email) references member on delete cascade -- who leaves the workspace leaves its groups
);
create index group_member_email on group_member (workspace_id, email);

-- A token is kept as its SHA-256; prefix is what lists show of it.
create table token (
  hash bytea primary key,
  prefix text not null,
  label text not null,
  email text not null references account on delete cascade,
  workspace_id text references workspace, -- null: every workspace its owner is in
  scopes text[], -- null: everything its owner may do
  read_only boolean not null default false,
  expires_at timestamptz,
  created_at timestamptz not null default clock_timestamp(),
  last_used_at timestamptz
);

-- Values made once per installation: the key that signs job tokens, for one.
create table instance_setting (
  name text primary key,
  value json not null
);

-- What deploying made: a bundle, a Python source with its requirements, … Content-addressed, so never changed.
create table artifact (
  key text primary key,
  language text not null,
  content text not null,
  lock text, -- exact versions of everything it was built with
  created_at timestamptz not null default clock_timestamp()
);

-- Immutable versions of flows and scripts (a script is a flow of one step), and of previews nobody deployed.
create table flow_version (
  id bigint generated always as identity primary key,
  workspace_id text not null references workspace,
  path text not null,
  kind text not null check (kind in ('flow', 'script', 'flowpreview', 'preview')),
  tag text not null, -- where its jobs go
  priority smallint not null default 0,
  value json not null, -- the OpenFlow value
  built json not null, -- step id → artifact, see src/core/flow/plan.ts
  content_hash text not null, -- of value and built: an equal preview is stored once
  created_by text not null,
  created_at timestamptz not null default clock_timestamp(),
  turns json -- what it asks of its jobs before they are ready: src/core/flow/turns.ts
);
create index flow_version_path on flow_version (workspace_id, path, id desc);
create unique index flow_version_preview on flow_version (workspace_id, path, content_hash) where kind in ('flowpreview', 'preview');

-- What is deployed now: a path's current version and what is shown of it.
create table flow (
  workspace_id text not null references workspace,
  path text not null,
  version_id bigint not null references flow_version,
  summary text not null default '',
  description text not null default '',
  schema json,
  document json not null, -- the rest of the document, given back unchanged
  dedicated_worker boolean not null default false,
  archived boolean not null default false,
  edited_by text not null,
  edited_at timestamptz not null default clock_timestamp(),
  primary key (workspace_id, path)
);

create table script (
  workspace_id text not null references workspace,
  path text not null,
  version_id bigint not null references flow_version, -- its hash in the API: these 8 bytes in hex
  summary text not null default '',
  description text not null default '',
  schema json,
  document json not null,
  language text not null,
  content text not null,
  lock text,
  kind text not null default 'script',
  dedicated_worker boolean not null default false,
  archived boolean not null default false,
  created_by text not null,
  created_at timestamptz not null default clock_timestamp(),
  primary key (workspace_id, path)
);

-- One row per living worker process (and per incarnation: a worker that lost its lease comes back with a new id).
-- No index on what a heartbeat changes, so that it stays a heap-only update.
create table worker (
  id integer generated always as identity primary key,
  name text not null,
  tags text[] not null,
  host text not null,
  pid integer not null,
  version text not null,
  state text not null default 'alive' check (state in ('alive', 'dead', 'reaped', 'stopped')),
  hint_lock boolean not null default true, -- holds advisory lock (lock_class, id) while connected
  lease_ms integer not null,
  started_at timestamptz not null default clock_timestamp(),
  heartbeat_at timestamptz not null default clock_timestamp(),
  stopped_at timestamptz,
  jobs_held integer not null default 0,
  jobs_done bigint not null default 0,
  claim_round integer not null default 0, -- + 1 when an answer to a claim was lost: claims of earlier rounds match nothing
  -- Since this incarnation's process began: {failed, steps, refused, poisoned, flows: {tag: [jobs, failed, steps]}}.
  counts json not null default '{}'
) with (fillfactor = 50);

create type job_state as enum ('ready', 'running', 'parked', 'waiting');

-- Active jobs only: small and hot. A job leaves it for job_done in the statement that finishes it.
create table job (
  id uuid primary key,
  workspace_id text not null,
  version_id bigint not null,
  tag text not null,
  state job_state not null default 'ready',
  priority smallint not null default 0,
  worker_id integer, -- who runs it
  epoch integer not null default 0, -- + 1 at every claim, release and take-over; never back
  lost smallint not null default 0, -- how often its worker died
  lost_workers integer[], -- those workers; null for the usual job
  journaled boolean not null default false, -- has rows in job_journal
  waiter integer, -- the server process with a caller waiting for the result
  args json not null,
  created_by text not null,
  run_at timestamptz, -- when parked: made ready then
  started_at timestamptz, -- first claim
  parent_id uuid, -- the job that started this one
  parent_slot integer,
  canceled_by text,
  canceled_reason text,
  trace text, -- W3C Trace Context it came with: traceparent, and tracestate after a space
  signals integer not null default 0, -- that it has had
  signals_wanted integer, -- when waiting: made ready by so many
  parent_step integer, -- of a part (src/store/parts.ts): the loop's number among the steps of parent_id; parent_slot: which part
  part text -- and the step whose iterations it runs
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);
create index job_ready on job (tag, priority desc, id) where state = 'ready';
create index job_lost on job (tag, id) where state = 'ready' and lost > 0;
create index job_parked on job (run_at) where state = 'parked';
create index job_waiting on job (run_at) where state = 'waiting' and run_at is not null;
create unique index job_part on job (parent_id, parent_step, parent_slot) where parent_id is not null;
create index job_canceled on job (worker_id) where canceled_by is not null;

-- Ordered records of jobs that live long. A short job never has a row here.
create table job_journal (
  job_id uuid not null,
  n integer not null,
  record json not null,
  primary key (job_id, n)
) with (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 5000);

-- Answers to waiting steps, in the order they came. step: which of the job's steps (0: whatever waits next).
create table signal (
  job_id uuid not null,
  seq integer not null,
  step integer not null,
  resume_id bigint not null, -- the number its sender gave it: each counts once per step
  approver text,
  approved boolean not null,
  payload json not null,
  created_at timestamptz not null default clock_timestamp(),
  account text, -- of a sender who was logged in
  groups text[], -- that it was in when the answer was taken
  primary key (job_id, seq),
  unique (job_id, step, resume_id)
);

-- Times that waiting jobs wait for, by the database's clock. key: which wait of the job.
create table job_wait (
  job_id uuid not null,
  key integer not null,
  until timestamptz not null,
  step integer, -- of a wait for answers: to which of the job's steps
  wanted integer, -- how many answers more will do
  answered_by text, -- by whom: anyone, a member, another member than who started the job
  module_id text, -- the module that waits, and the version of the flow that it is in
  version_id bigint,
  groups text[], -- whose members may answer
  primary key (job_id, key)
);

-- Results of steps, flows and scripts with cache_ttl. key: src/worker/cache.ts.
create table result_cache (
  key text primary key,
  result json not null,
  expires_at timestamptz not null
);
create index result_cache_expires on result_cache (expires_at);

-- Jobs whose version limits, orders or debounces them (flow_version.turns), from when they are accepted until their turn is free for another. A job without one is in state 'waiting'.
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
  accepted_at timestamptz not null default clock_timestamp(),
  joins_id uuid -- of a step's job that does not run: the one that does in its place; its key is the one that both are debounced by
);
create index turn_waiting on turn (key, n) where not held and due_at is null;
create index turn_held on turn (key) where held;
create index turn_due on turn (due_at) where due_at is not null;
create index turn_free on turn (free_at) where free_at is not null;
create index turn_joins on turn (joins_id) where joins_id is not null;
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
    update turn set held = true from next where turn.job_id = any (array[next.job_id]) returning turn.job_id
  ), ready as (
    update job set state = 'ready' from taken where job.id = any (array[taken.job_id]) and job.state = 'waiting' returning job.tag
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
   where turn.job_id = any (array[ended.id]) and turn.held and ended.at + turn.window_ms * interval '1 ms' > clock_timestamp();
  delete from turn where turn.job_id = any (ids) and turn.free_at is null;
  return turn_grant(keys);
end $$;

-- Before these jobs are taken away, and their parts told to stop: see turn_lock. What they absorb by, too: whoever was debounced into one
-- of them is told. True.
create function turn_lock_of(ids uuid[]) returns boolean language plpgsql as $$
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
  update turn set due_at = null, n = placed.n from placed where turn.job_id = any (array[placed.job_id]);
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
create function turn_parts(batch json) returns text[] language plpgsql strict as $$
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

-- These jobs are over, and ended so: all that were debounced into one of them are told, by a signal each. Gives the tags of those that are
-- ready for it. After turn_lock of the keys that they were debounced by, and a function for the same reason as turn_grant.
create function turn_join(ids uuid[], ends json[]) returns text[] language plpgsql strict as $$
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

-- Finished jobs, in daily partitions by range of id (UUIDv7 is time). Partitions are made ahead and dropped by
-- retention; job_done_rest takes what has no partition (a job that finished after its day was dropped).
create table job_done (
  id uuid not null,
  workspace_id text not null,
  version_id bigint not null,
  tag text not null,
  status text not null, -- success | failure | canceled | skipped
  worker_id integer,
  lost smallint not null,
  args json not null,
  result json not null,
  steps json not null, -- its journal
  created_by text not null,
  started_at timestamptz,
  completed_at timestamptz not null default clock_timestamp(),
  parent_id uuid,
  canceled_by text,
  canceled_reason text,
  trace text,
  parent_step integer,
  parent_slot integer,
  part text,
  deleted text, -- by delete_after_secs: 'all' of its arguments, result and steps; or 'some' of its steps
  primary key (id)
) partition by range (id);
create table job_done_rest partition of job_done default;
create index job_done_version on job_done (version_id, id);
create index job_done_bad on job_done (workspace_id, id) where status <> 'success';
create index job_done_poison on job_done (workspace_id, id) where status = 'failure' and lost > 0;

-- Finished jobs of which something is to be deleted (delete_after_secs). Upkeep does it: src/worker/afterwards.ts.
create table deletion (
  job_id uuid primary key,
  due_at timestamptz not null,
  whole_s integer -- all of it goes so many seconds after its end; null: some of its steps do
);
create index deletion_due on deletion (due_at);

-- Failed jobs that the error handler of their workspace was not started for yet. Workers do it: src/worker/afterwards.ts.
create table failure (
  job_id uuid primary key,
  due_at timestamptz not null default clock_timestamp(),
  missed boolean not null default false -- the handler was not deployed
);
create index failure_due on failure (due_at);

-- What a job that ends without a worker is to have deleted: all of it after `whole_s`, the first of it after `first_s`; null: nothing.
create function deletion_of(version bigint, records json, out first_s integer, out whole_s integer) language sql stable as $$
  select least(whole.s, steps.s), whole.s
    from (select min((record ->> 'd')::integer) as s from json_array_elements(records) as e (record)) steps
    left join (select greatest((value ->> 'delete_after_secs')::integer, 5) as s from flow_version
                where id = version and value ->> 'delete_after_secs' is not null) whole
      on true
$$;

-- Jobs that were started again from a finished one's arguments (millrace job replay), or from the middle of it (job restart).
create table job_replay (
  job_id uuid primary key,
  replay_of uuid not null,
  created_by text not null,
  created_at timestamptz not null default clock_timestamp(),
  from_step text, -- null: from the beginning
  from_slot integer -- which iteration or branch of it
);
create index job_replay_of on job_replay (replay_of);

-- Names that callers gave: an Idempotency-Key or a job_id of their own.
create table job_key (
  workspace_id text not null,
  key text not null,
  job_id uuid not null,
  created_at timestamptz not null default clock_timestamp(),
  primary key (workspace_id, key)
);

-- What steps say while they run, in pieces: console output, and pieces of a streamed result. id is the step's.
-- Partitioned as job_done is.
create table job_log (
  id uuid not null,
  channel smallint not null default 0, -- 0: console output, 1: streamed result
  n integer not null,
  content text not null,
  primary key (id, channel, n)
) partition by range (id);
create table job_log_rest partition of job_log default;

-- Values that a flow's steps keep for the length of its job (setFlowUserState).
create table job_user_state (
  job_id uuid not null,
  key text not null,
  value json not null,
  primary key (job_id, key)
);

-- Values of a workspace that steps read by name. Of a secret, `value` is sealed (src/store/secrets.ts).
create table variable (
  workspace_id text not null references workspace,
  path text not null,
  value text not null,
  is_secret boolean not null,
  description text not null default '',
  edited_by text not null,
  edited_at timestamptz not null default clock_timestamp(),
  primary key (workspace_id, path)
);

create table resource (
  workspace_id text not null references workspace,
  path text not null,
  value json not null,
  resource_type text not null default '',
  description text not null default '',
  edited_by text not null,
  edited_at timestamptz not null default clock_timestamp(),
  primary key (workspace_id, path)
);

-- How far a step says it is, in percent.
create table job_progress (
  id uuid primary key,
  percent smallint not null,
  at timestamptz not null default clock_timestamp()
);

-- Audit. Views over what is always there, and tables that are only written while audit mode is on (audit_record). Then
-- triggers on the tables themselves write them, so that a fault of the engine cannot hide by not reporting itself.
-- While it is off there is no trigger, and nothing to pay. docs/audit.md explains each of them.

-- The one recording: on while ended_at is null. Switching on again starts a new one.
create table audit_recording (
  one boolean primary key default true check (one),
  started_at timestamptz not null default clock_timestamp(),
  ended_at timestamptz
);

-- Order of everything that is recorded. Rows of one job get their number under that job's row lock, so in the order things happened.
create sequence audit_n;

-- The worker that this connection belongs to: those that claims and commits go through are named after it. Null: any other.
create function audit_writer() returns integer language sql stable parallel safe as $$
  select substring(current_setting('application_name') from '^millrace (?:claim|commit) (\d+)$')::integer
$$;

-- Every change of a job's state, epoch, worker or loss count. to_state is null when it has left job.
create table audit_transition (
  n bigint not null default nextval('audit_n'),
  job_id uuid not null,
  cause text not null, -- accepted | claimed | released | parked | due | lost | cancel_asked | ended | canceled | other
  from_state job_state,
  to_state job_state,
  from_epoch integer,
  to_epoch integer,
  from_worker integer,
  to_worker integer,
  lost smallint not null,
  version_id bigint not null,
  run_at timestamptz,
  writer integer default audit_writer(),
  txid xid8 not null default pg_current_xact_id(),
  at timestamptz not null default clock_timestamp(),
  primary key (job_id, n)
);

-- Every change of job_done: an insert is the end of a job, and nothing else may happen to it.
create table audit_end (
  n bigint not null default nextval('audit_n'),
  job_id uuid not null,
  op text not null, -- insert | update | delete | deleted (what delete_after_secs takes)
  status text not null,
  worker_id integer,
  lost smallint not null,
  version_id bigint not null,
  txid xid8 not null default pg_current_xact_id(),
  at timestamptz not null default clock_timestamp(),
  primary key (job_id, n)
);

-- Every record that was made durable before its job's end, and under which claim.
create table audit_record_kept (
  n bigint not null default nextval('audit_n'),
  job_id uuid not null,
  op text not null, -- insert | update
  place integer not null, -- job_journal.n
  epoch integer,
  worker_id integer,
  record_md5 text not null,
  writer integer default audit_writer(),
  at timestamptz not null default clock_timestamp(),
  primary key (job_id, n)
);

-- Every change of job_key.
create table audit_key (
  n bigint primary key default nextval('audit_n'),
  op text not null, -- insert | update | delete
  workspace_id text not null,
  key text not null,
  job_id uuid not null,
  at timestamptz not null default clock_timestamp()
);

-- Every change of a worker's state.
create table audit_worker_state (
  n bigint primary key default nextval('audit_n'),
  worker_id integer not null,
  from_state text,
  to_state text not null,
  at timestamptz not null default clock_timestamp()
);

-- Writes of workers that were refused, because (job, worker, epoch) held no longer. Workers write this themselves: a write that
-- matches nothing fires no trigger.
create table audit_refusal (
  n bigint not null default nextval('audit_n'),
  job_id uuid not null,
  epoch integer not null,
  worker_id integer not null,
  what text not null, -- finish | journal | release
  -- stale: the job was taken over | repeat: the same write had been committed, and its reply was lost | foreign: somebody else
  -- has ended the claim in this worker's name, which must not be
  kind text not null,
  job_epoch integer, -- whose the job was at that moment; null: it was over
  job_worker integer,
  at timestamptz not null default clock_timestamp(),
  primary key (job_id, n)
);

create function audit_job_inserted() returns trigger language plpgsql as $$
begin
  insert into audit_transition (job_id, cause, to_state, to_epoch, to_worker, lost, version_id, run_at)
  select id, 'accepted', state, epoch, worker_id, lost, version_id, run_at from new_rows;
  return null;
end $$;

-- The plan of the join is kept from the first call, whatever its size was: no nested loops.
create function audit_job_updated() returns trigger language plpgsql set enable_nestloop = off as $$
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

create function audit_job_deleted() returns trigger language plpgsql as $$
begin
  insert into audit_transition (job_id, cause, from_state, from_epoch, from_worker, lost, version_id)
  select id, case when state = 'running' then 'ended' else 'canceled' end, state, epoch, worker_id, lost, version_id from old_rows;
  return null;
end $$;

create function audit_end_changed() returns trigger language plpgsql as $$
begin
  insert into audit_end (job_id, op, status, worker_id, lost, version_id)
  select id, case when tg_op = 'UPDATE' and deleted is not null then 'deleted' else lower(tg_op) end, status, worker_id, lost, version_id
    from changed_rows;
  return null;
end $$;

create function audit_journal_changed() returns trigger language plpgsql set enable_nestloop = off as $$
begin
  insert into audit_record_kept (job_id, op, place, epoch, worker_id, record_md5)
  select c.job_id, lower(tg_op), c.n, job.epoch, job.worker_id, md5(c.record::text)
    from changed_rows c left join job on job.id = c.job_id;
  return null;
end $$;

create function audit_key_changed() returns trigger language plpgsql as $$
begin
  insert into audit_key (op, workspace_id, key, job_id)
  select lower(tg_op), workspace_id, key, job_id from changed_rows;
  return null;
end $$;

create function audit_worker_changed() returns trigger language plpgsql as $$
begin
  insert into audit_worker_state (worker_id, from_state, to_state)
  values (new.id, case when tg_op = 'UPDATE' then old.state end, new.state);
  return null;
end $$;

-- Switches audit mode on (with a new, empty record) or off (keeping it). False: it was so already. The tables are locked first, and
-- together, so that a record begins and ends at one moment; callers set lock_timeout.
create function audit_record(recording boolean) returns boolean language plpgsql as $$
begin
  perform pg_advisory_xact_lock(hashtextextended('millrace audit', 0));
  if recording = exists (select from audit_recording where ended_at is null) then return false; end if;
  lock table only job, job_done, job_journal, job_key, worker in share row exclusive mode;
  if not recording then
    drop trigger audit_inserted on job;
    drop trigger audit_updated on job;
    drop trigger audit_deleted on job;
    drop trigger audit_inserted on job_done;
    drop trigger audit_updated on job_done;
    drop trigger audit_deleted on job_done;
    drop trigger audit_inserted on job_journal;
    drop trigger audit_updated on job_journal;
    drop trigger audit_inserted on job_key;
    drop trigger audit_updated on job_key;
    drop trigger audit_deleted on job_key;
    drop trigger audit_changed on worker;
    drop trigger audit_added on worker;
    update audit_recording set ended_at = clock_timestamp();
    return true;
  end if;
  perform audit_clear();
  create trigger audit_inserted after insert on job referencing new table as new_rows for each statement execute function audit_job_inserted();
  create trigger audit_updated after update on job referencing old table as old_rows new table as new_rows for each statement execute function audit_job_updated();
  create trigger audit_deleted after delete on job referencing old table as old_rows for each statement execute function audit_job_deleted();
  create trigger audit_inserted after insert on job_done referencing new table as changed_rows for each statement execute function audit_end_changed();
  create trigger audit_updated after update on job_done referencing new table as changed_rows for each statement execute function audit_end_changed();
  create trigger audit_deleted after delete on job_done referencing old table as changed_rows for each statement execute function audit_end_changed();
  create trigger audit_inserted after insert on job_journal referencing new table as changed_rows for each statement execute function audit_journal_changed();
  create trigger audit_updated after update on job_journal referencing new table as changed_rows for each statement execute function audit_journal_changed();
  create trigger audit_inserted after insert on job_key referencing new table as changed_rows for each statement execute function audit_key_changed();
  create trigger audit_updated after update on job_key referencing new table as changed_rows for each statement execute function audit_key_changed();
  create trigger audit_deleted after delete on job_key referencing old table as changed_rows for each statement execute function audit_key_changed();
  create trigger audit_changed after update on worker for each row when (old.state is distinct from new.state) execute function audit_worker_changed();
  create trigger audit_added after insert on worker for each row execute function audit_worker_changed();
  delete from audit_recording;
  insert into audit_recording default values;
  return true;
end $$;

create function audit_clear() returns void language sql as $$
  truncate audit_transition, audit_end, audit_record_kept, audit_key, audit_worker_state, audit_refusal;
$$;

-- When a job was accepted: a UUIDv7 begins with it.
create function audit_accepted_at(id uuid) returns timestamptz language sql immutable parallel safe as $$
  select to_timestamp(('x' || left(replace(id::text, '-', ''), 12))::bit(48)::bigint / 1000.0)
$$;

-- Every event that was accepted and is not past retention.
create view audit_event as
select e.id as job_id, e.workspace_id, k.key, audit_accepted_at(e.id) as accepted_at, e.args ->> 'op' as op,
       encode(sha256(convert_to(e.args::text, 'UTF8')), 'hex') as args_sha256
  from (select id, workspace_id, args from job
        union all
        select id, workspace_id, args from job_done) e
  left join job_key k on k.job_id = e.id;

-- Every job, active or finished. epoch and run_at are those of active ones; state is its status once it is over.
create view audit_job as
select j.id as job_id, j.workspace_id, v.path, v.kind, j.version_id, j.tag, j.state, j.over, j.epoch, j.lost, j.worker_id, j.run_at,
       j.parent_id, j.canceled_by, audit_accepted_at(j.id) as accepted_at, j.started_at, j.completed_at
  from (select id, workspace_id, version_id, tag, state::text as state, false as over, epoch, lost, worker_id, run_at, parent_id,
               canceled_by, started_at, null::timestamptz as completed_at
          from job
        union all
        select id, workspace_id, version_id, tag, status, true, null, lost, worker_id, null, parent_id,
               canceled_by, started_at, completed_at
          from job_done) j
  left join flow_version v on v.id = j.version_id;

-- Every claim that was recorded, and what became of it. outcome is null while it goes on; lost: its worker died.
create view audit_attempt as
select c.job_id, c.to_epoch as epoch, c.to_worker as worker_id, c.at as claimed_at, e.at as ended_at,
       case
         when e.cause <> 'ended' then e.cause
         when e.cause = 'ended' and d.status is null then 'vanished'
         when d.lost > e.lost then 'lost' -- once too often: poison
         else d.status
       end as outcome, c.n, e.n as end_n
  from audit_transition c
  left join lateral (
    select t.n, t.cause, t.at, t.lost from audit_transition t
     where t.job_id = c.job_id and t.n > c.n and t.cause <> 'cancel_asked'
     order by t.n limit 1
  ) e on true
  left join lateral (
    select d.status, d.lost from audit_end d
     where e.cause = 'ended' and d.job_id = c.job_id and d.op = 'insert' and d.n > c.n
     order by d.n limit 1
  ) d on true
 where c.cause = 'claimed';

-- Every outcome of a step: a row for each ok or err record, of the journals of active jobs and of the steps of finished ones.
create view audit_result as
select j.id as job_id, r.n, r.s as step, r.k = 'ok' as ok, j.place, to_timestamp(r.at / 1000.0) as began_at, r.ms,
       coalesce(r.v, case when r.k = 'ok' then j.result end) as value, r.e as error, j.completed_at as recorded_at, j.version_id
  from (select d.id, d.version_id, d.result, d.completed_at, e.place, e.record
          from job_done d
         cross join lateral json_array_elements(case when json_typeof(d.steps) = 'array' then d.steps else '[]' end)
                            with ordinality as e (record, place)
        union all
        select job.id, job.version_id, null, null, journal.n, journal.record
          from job_journal journal join job on job.id = journal.job_id) j
 cross join lateral json_to_record(case when json_typeof(j.record) = 'object' then j.record else '{}' end)
                    as r (k text, n integer, s text, at float8, ms float8, v json, e json)
 where r.k in ('ok', 'err');

-- Workers, and until when those that live hold their jobs.
create view audit_worker as
select id as worker_id, name, host, pid, state, heartbeat_at + lease_ms * interval '1 ms' as lease_until, started_at, stopped_at
  from worker;

-- Jobs that failed because the workers running them died too often.
create view audit_poison as
select id as job_id, workspace_id, version_id, lost, completed_at
  from job_done
 where status = 'failure' and lost > 0 and result #>> '{error,name}' = 'PoisonJob';

insert into workspace (id, name) values ('main', 'Main');
