-- group_add_member: $1 workspace, $2 group, $3 username. Nothing changes for who is in it. No row if there is no such group; "email" is null if there is no such member.
with who as (
  select member.email from member join account using (email) where member.workspace_id = $1 and account.username = $3
), added as (
  insert into group_member (workspace_id, name, email)
  select $1, workspace_group.name, who.email from workspace_group, who
   where workspace_group.workspace_id = $1 and workspace_group.name = $2
  on conflict do nothing
)
select (select email from who) as "email" from workspace_group where workspace_id = $1 and name = $2;
