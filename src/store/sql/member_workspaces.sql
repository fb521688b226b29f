-- member_workspaces: $1 email, $2 is super admin (sees all). The workspaces of an account, with its rights there.
select w.id as "id", w.name as "name", coalesce(m.is_admin, $2) as "isAdmin", coalesce(m.operator, false) as "operator"
  from workspace w left join member m on m.workspace_id = w.id and m.email = $1
 where not w.archived and ($2 or m.email is not null)
 order by w.id;
