-- insert_version: $1 workspace, $2 path, $3 kind, $4 tag, $5 priority, $6 value, $7 built, $8 content_hash, $9 created_by, $10 turns.
insert into flow_version (workspace_id, path, kind, tag, priority, value, built, content_hash, created_by, turns)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
returning id as "id";
