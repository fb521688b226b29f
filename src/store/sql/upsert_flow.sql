-- upsert_flow: $1 workspace, $2 path, $3 version, $4 summary, $5 description, $6 schema, $7 document, $8 dedicated_worker, $9 by.
-- Run under lock_path.
insert into flow (workspace_id, path, version_id, summary, description, schema, document, dedicated_worker, edited_by)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
on conflict (workspace_id, path) do update
  set version_id = excluded.version_id, summary = excluded.summary, description = excluded.description, schema = excluded.schema,
      document = excluded.document, dedicated_worker = excluded.dedicated_worker, archived = false,
      edited_by = excluded.edited_by, edited_at = excluded.edited_at;
