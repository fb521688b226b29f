-- delete_variable: $1 workspace, $2 path.
delete from variable where workspace_id = $1 and path = $2 returning path
