-- get_workspace: $1 id. No row: there is none, or it is archived.
select id as "id", name as "name", created_at as "createdAt" from workspace where id = $1 and not archived;
