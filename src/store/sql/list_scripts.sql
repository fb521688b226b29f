-- list_scripts: $1 workspace, $2 path prefix, $3 archived ones (else the others), $4 newest first, $5 limit, $6 offset.
select s.path as "path", s.version_id as "versionId", s.summary as "summary", s.description as "description",
       s.schema as "schema", s.document as "document", s.language as "language", s.kind as "kind", v.tag as "tag",
       v.priority as "priority", s.dedicated_worker as "dedicatedWorker", s.archived as "archived",
       s.created_by as "createdBy", s.created_at as "createdAt"
  from script s join flow_version v on v.id = s.version_id
 where s.workspace_id = $1 and starts_with(s.path, $2) and s.archived = $3
 order by case when $4 then s.created_at end desc, case when not $4 then s.created_at end, s.path
 limit $5 offset $6;
