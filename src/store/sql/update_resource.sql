-- update_resource: $1 workspace, $2 path, $3 value, $4 type, $5 description, $6 by. Null: as it was. No row: there is none.
update resource
   set value = coalesce($3, value), resource_type = coalesce($4, resource_type), description = coalesce($5, description),
       edited_by = $6, edited_at = clock_timestamp()
 where workspace_id = $1 and path = $2
returning path
