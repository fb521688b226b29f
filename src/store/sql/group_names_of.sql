-- group_names_of: $1 workspace, $2 email. The groups that an account is in.
select name as "name" from group_member where workspace_id = $1 and email = $2 order by name;
