-- Groups of members, and steps that wait for an answer of one of them. Workers and servers of the version before must be stopped first where
-- flows have such steps: they ask for any member.

create table workspace_group (
  workspace_id text not null references workspace,
  name text not null,
  summary text not null default '',
  created_at timestamptz not null default clock_timestamp(),
  primary key (workspace_id, name)
);

-- Whoever is no member of the workspace any more is in none of its groups. Nobody is in the group all by a row: it contains every member.
create table group_member (
  workspace_id text not null,
  name text not null,
  email text not null,
  primary key (workspace_id, name, email),
  foreign key (workspace_id, name) references workspace_group on delete cascade,
  foreign key (workspace_id, email) references member on delete cascade
);
create index group_member_email on group_member (workspace_id, email);

-- The groups that a sender who was logged in was in when the answer was taken.
alter table signal add column groups text[];

-- Of waits for answers: the groups whose members may give them.
alter table job_wait add column groups text[];
