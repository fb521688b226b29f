-- insert_preview: $1 workspace, $2 path, $3 kind, $4 tag, $5 priority, $6 value, $7 built, $8 content_hash, $9 created_by, $10 turns.
-- An equal preview made meanwhile gives its id (the update changes nothing; it makes the row come back).
insert into flow_version (workspace_id, path, kind, tag, priority, value, built, content_hash, created_by, turns)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
on conflict (workspace_id, path, content_hash) where kind in ('flowpreview', 'preview')
do update set content_hash = excluded.content_hash
returning id as "id";
