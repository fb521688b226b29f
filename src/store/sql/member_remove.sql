-- member_remove: $1 workspace, $2 username.
delete from member using account a
 where member.workspace_id = $1 and a.email = member.email and a.username = $2
returning member.email;
