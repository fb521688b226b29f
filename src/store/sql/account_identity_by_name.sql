-- account_identity_by_name: $1 an email or a username. As account_identity_by_token, for tokens that are signed, not stored.
select a.email as "email", a.username as "username", a.super_admin as "superAdmin", a.created_at as "createdAt",
       coalesce((select json_object_agg(m.workspace_id, json_build_object('isAdmin', m.is_admin, 'operator', m.operator))
                   from member m where m.email = a.email), '{}') as "members"
  from account a
 where a.email = $1 or a.username = $1;
