-- get_variable: $1 workspace, $2 path. The value of a secret as it is kept: sealed.
select path as "path", value as "value", is_secret as "isSecret", description as "description", edited_by as "editedBy",
       edited_at as "editedAt"
  from variable where workspace_id = $1 and path = $2
