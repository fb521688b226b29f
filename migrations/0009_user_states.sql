-- Values that a flow's steps keep for the length of its job. Workers of the version before can run beside it.

create table job_user_state (
  job_id uuid not null,
  key text not null,
  value json not null,
  primary key (job_id, key)
);
