-- Variables and resources: values of a workspace that steps read by name. Workers and servers of the version before can run beside it.

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
