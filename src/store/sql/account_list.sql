-- account_list: everyone.
select email as "email", username as "username", super_admin as "superAdmin", created_at as "createdAt"
  from account order by email;
