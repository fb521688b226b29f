-- account_create: $1 email, $2 username, $3 super admin. No row if either name is taken.
insert into account (email, username, super_admin) values ($1, $2, $3)
on conflict do nothing
returning email;
