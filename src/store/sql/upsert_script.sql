-- upsert_script: $1 workspace, $2 path, $3 version, $4 summary, $5 description, $6 schema, $7 document, $8 language, $9 content,
-- $10 lock, $11 kind, $12 dedicated_worker, $13 by. Run under lock_path.
insert into script (workspace_id, path, version_id, summary, description, schema, document, language, content, lock, kind,
                    dedicated_worker, created_by)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
on conflict (workspace_id, path) do update
  set version_id = excluded.version_id, summary = excluded.summary, description = excluded.description, schema = excluded.schema,
      document = excluded.document, language = excluded.language, content = excluded.content, lock = excluded.lock,
      kind = excluded.kind, dedicated_worker = excluded.dedicated_worker, archived = false,
      created_by = excluded.created_by, created_at = excluded.created_at;
