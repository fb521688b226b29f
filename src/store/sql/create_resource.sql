-- create_resource: $1 workspace, $2 path, $3 value, $4 type, $5 description, $6 by, $7 update one that is there. No row: there is one.
insert into resource (workspace_id, path, value, resource_type, description, edited_by)
values ($1, $2, $3, $4, $5, $6)
on conflict (workspace_id, path) do update
  set value = excluded.value, resource_type = excluded.resource_type, description = excluded.description,
      edited_by = excluded.edited_by, edited_at = clock_timestamp()
  where $7
returning path
