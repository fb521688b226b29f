-- list_flows: $1 workspace, $2 path prefix, $3 archived ones (else the others), $4 newest first, $5 limit, $6 offset.
select f.path as "path", f.version_id as "versionId", f.summary as "summary", f.description as "description",
       f.schema as "schema", f.document as "document", v.tag as "tag", v.priority as "priority",
       f.dedicated_worker as "dedicatedWorker", f.archived as "archived", f.edited_by as "editedBy", f.edited_at as "editedAt"
  from flow f join flow_version v on v.id = f.version_id
 where f.workspace_id = $1 and starts_with(f.path, $2) and f.archived = $3
 order by case when $4 then f.edited_at end desc, case when not $4 then f.edited_at end, f.path
 limit $5 offset $6;
