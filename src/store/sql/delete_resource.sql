-- delete_resource: $1 workspace, $2 path.
delete from resource where workspace_id = $1 and path = $2 returning path
