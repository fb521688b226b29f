-- get_resource: $1 workspace, $2 path.
select path as "path", value as "value", resource_type as "resourceType", description as "description", edited_by as "editedBy",
       edited_at as "editedAt"
  from resource where workspace_id = $1 and path = $2
