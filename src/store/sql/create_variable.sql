-- create_variable: $1 workspace, $2 path, $3 value (sealed if it is a secret), $4 is it one, $5 description, $6 by. No row: there is one.
insert into variable (workspace_id, path, value, is_secret, description, edited_by)
values ($1, $2, $3, $4, $5, $6)
on conflict do nothing
returning path
