-- group_list: $1 workspace, $2 a name; null: all of them. Groups with their members, by name.
select name as "name", summary as "summary",
       array(select account.username from group_member join account using (email)
              where group_member.workspace_id = $1 and group_member.name = workspace_group.name order by 1) as "members"
  from workspace_group
 where workspace_id = $1 and ($2::text is null or name = $2)
 order by name;
