-- account_get: $1 email.
select email as "email", username as "username", super_admin as "superAdmin", created_at as "createdAt"
  from account where email = $1;
