-- group_delete: $1 workspace, $2 name. Its members are in it no more.
delete from workspace_group where workspace_id = $1 and name = $2
returning name;
