-- history/create_effects: where a tester's list of executed steps is put while it is compared with what is recorded.
create temporary table history_effect (
  job_id uuid not null,
  step text not null,
  n integer,
  at timestamptz not null
)
