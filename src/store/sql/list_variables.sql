-- list_variables: $1 workspace, $2 path prefix, $3 limit, $4 offset. Without the values of secrets.
select path as "path", case when not is_secret then value end as "value", is_secret as "isSecret", description as "description",
       edited_by as "editedBy", edited_at as "editedAt"
  from variable
 where workspace_id = $1 and starts_with(path, $2)
 order by path
 limit $3 offset $4
