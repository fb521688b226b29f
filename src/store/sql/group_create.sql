-- group_create: $1 workspace, $2 name, $3 summary. No row if there is one of this name.
insert into workspace_group (workspace_id, name, summary) values ($1, $2, $3)
on conflict do nothing
returning name;
