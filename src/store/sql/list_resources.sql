-- list_resources: $1 workspace, $2 path prefix, $3 types (null: any), $4 types that are left out (null: none), $5 limit, $6 offset.
select path as "path", value as "value", resource_type as "resourceType", description as "description", edited_by as "editedBy",
       edited_at as "editedAt"
  from resource
 where workspace_id = $1 and starts_with(path, $2)
   and ($3::text[] is null or resource_type = any ($3)) and ($4::text[] is null or resource_type <> all ($4))
 order by path
 limit $5 offset $6
