-- The whole schema, for reading: what the migrations together make. It is never applied to a database of yours; a test
-- compares the two. Change both: a new migration for databases that exist, and this page for whoever reads.
-- Not shown: the table `migration`, in which src/store/migrate.ts keeps what was applied, and the daily partitions of
-- job_done and job_log, which src/store/partitions.ts makes (job_done_20261122, and so on).

create table workspace (
  id text primary key check (id ~ '^[a-z0-9][a-z0-9_-]{0,49}$'),
  name text not null,
  created_at timestamptz not null default clock_timestamp(),
  archived boolean not null default false
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
  created_at timestamptz not null default clock_timestamp()
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
  jobs_done bigint not null default 0
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
  canceled_reason text
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);
create index job_ready on job (tag, priority desc, id) where state = 'ready';
create index job_parked on job (run_at) where state = 'parked';
create index job_canceled on job (worker_id) where canceled_by is not null;

-- Ordered records of jobs that live long. A short job never has a row here.
create table job_journal (
  job_id uuid not null,
  n integer not null,
  record json not null,
  primary key (job_id, n)
) with (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 5000);

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
  primary key (id)
) partition by range (id);
create table job_done_rest partition of job_done default;
create index job_done_version on job_done (version_id, id);
create index job_done_bad on job_done (workspace_id, id) where status <> 'success';
create index job_done_poison on job_done (workspace_id, id) where status = 'failure' and lost > 0;

-- Jobs that were started again from a finished one's arguments (millrace job replay).
create table job_replay (
  job_id uuid primary key,
  replay_of uuid not null,
  created_by text not null,
  created_at timestamptz not null default clock_timestamp()
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

-- How far a step says it is, in percent.
create table job_progress (
  id uuid primary key,
  percent smallint not null,
  at timestamptz not null default clock_timestamp()
);

insert into workspace (id, name) values ('main', 'Main');
