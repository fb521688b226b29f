-- group_remove_member: $1 workspace, $2 group, $3 username. No row if they are not in it.
delete from group_member using account
 where group_member.workspace_id = $1 and group_member.name = $2 and account.email = group_member.email and account.username = $3
returning group_member.name;
