-- group_update: $1 workspace, $2 name, $3 summary.
update workspace_group set summary = $3 where workspace_id = $1 and name = $2
returning name;
