-- update_variable: $1 workspace, $2 path, $3 was it a secret, $4 is it one, $5 value (sealed if it is), $6 description, $7 by. Null: as it was.
-- No row: there is none, or it has become a secret, or none, meanwhile.
update variable
   set value = coalesce($5, value), is_secret = $4, description = coalesce($6, description), edited_by = $7,
       edited_at = clock_timestamp()
 where workspace_id = $1 and path = $2 and is_secret = $3
returning path
