-- Waiting jobs: what they wait for. Workers of the version before can run beside it; they make no job wait.

-- How many signals the job has had, and how many make it ready while it waits.
alter table job add column signals integer not null default 0;
alter table job add column signals_wanted integer;
create index job_waiting on job (run_at) where state = 'waiting' and run_at is not null;

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
  primary key (job_id, seq),
  unique (job_id, step, resume_id)
);

-- Times that waiting jobs wait for, by the database's clock. key: which wait of the job.
create table job_wait (
  job_id uuid not null,
  key integer not null,
  until timestamptz not null,
  primary key (job_id, key)
);
