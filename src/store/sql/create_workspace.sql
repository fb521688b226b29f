-- create_workspace: $1 id, $2 name. No row: the id is taken.
insert into workspace (id, name) values ($1, $2) on conflict (id) do nothing
returning id as "id", name as "name", created_at as "createdAt";
