-- member_list: $1 workspace.
select m.email as "email", a.username as "username", m.is_admin as "isAdmin", m.operator as "operator",
       a.super_admin as "superAdmin", m.created_at as "createdAt"
  from member m join account a on a.email = m.email
 where m.workspace_id = $1
 order by m.email;
