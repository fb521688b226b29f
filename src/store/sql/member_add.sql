-- member_add: $1 workspace, $2 email, $3 is admin, $4 operator. A member already there gets these rights.
insert into member (workspace_id, email, is_admin, operator) values ($1, $2, $3, $4)
on conflict (workspace_id, email) do update set is_admin = excluded.is_admin, operator = excluded.operator;
