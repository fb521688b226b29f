-- get_flow: $1 workspace, $2 path. Archived ones too.
select f.path as "path", f.version_id as "versionId", f.summary as "summary", f.description as "description", v.value as "value",
       f.schema as "schema", f.document as "document", v.tag as "tag", v.priority as "priority",
       f.dedicated_worker as "dedicatedWorker", f.archived as "archived", f.edited_by as "editedBy", f.edited_at as "editedAt"
  from flow f join flow_version v on v.id = f.version_id
 where f.workspace_id = $1 and f.path = $2;
