-- list_workspaces: every workspace that is not archived, by id.
select id as "id", name as "name", created_at as "createdAt" from workspace where not archived order by id;
