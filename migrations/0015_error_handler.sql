-- Error handlers of workspaces. Workers of the version before can run beside it; for jobs that fail on them no handler is started.

-- {path: 'script/…' | 'flow/…', extra_args, muted_on_cancel, muted_on_user_path}; null: none
alter table workspace add column error_handler json;

-- Failed jobs that the handler of their workspace was not started for yet. Workers do it: src/worker/afterwards.ts.
create table failure (
  job_id uuid primary key,
  due_at timestamptz not null default clock_timestamp(),
  missed boolean not null default false -- the handler was not deployed
);
create index failure_due on failure (due_at);
