-- get_script: $1 workspace, $2 path. Archived ones too.
select s.path as "path", s.version_id as "versionId", s.summary as "summary", s.description as "description",
       s.schema as "schema", s.document as "document", s.language as "language", s.content as "content", s.lock as "lock",
       s.kind as "kind", v.tag as "tag", v.priority as "priority", s.dedicated_worker as "dedicatedWorker",
       s.archived as "archived", s.created_by as "createdBy", s.created_at as "createdAt"
  from script s join flow_version v on v.id = s.version_id
 where s.workspace_id = $1 and s.path = $2;
