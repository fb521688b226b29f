-- dedicated_bindings: every deployed flow and script that wants a worker of its own.
select workspace_id as "workspaceId", path as "path", 'flow' as "kind", version_id as "versionId"
  from flow where dedicated_worker and not archived
union all
select workspace_id, path, 'script', version_id
  from script where dedicated_worker and not archived
 order by 1, 3, 2;
