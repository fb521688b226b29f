-- Poison jobs: who died of them, a list of them, and what was started again. Workers of the version before can run beside it.

-- Workers that died while they held the job; null for the usual job.
alter table job add column lost_workers integer[];

create index job_done_poison on job_done (workspace_id, id) where status = 'failure' and lost > 0;

-- Jobs that were started again from a finished one's arguments.
create table job_replay (
  job_id uuid primary key,
  replay_of uuid not null,
  created_by text not null,
  created_at timestamptz not null default clock_timestamp()
);
create index job_replay_of on job_replay (replay_of);
