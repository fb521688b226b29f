-- dedicated_bindings: every flow and script that needs a worker of its own: deployed as dedicated, or still with jobs
-- ready under the tag it had as long as it was.
select f.workspace_id as "workspaceId", f.path as "path", 'flow' as "kind", f.version_id as "versionId"
  from flow f
 where (f.dedicated_worker and not f.archived)
    or exists (select from job j where j.tag = f.workspace_id || ':flow/' || f.path and j.state = 'ready')
union all
select s.workspace_id, s.path, 'script', s.version_id
  from script s
 where (s.dedicated_worker and not s.archived)
    or exists (select from job j where j.tag = s.workspace_id || ':' || s.path and j.state = 'ready')
 order by 1, 3, 2;
