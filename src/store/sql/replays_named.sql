-- replays_named: $1 workspace, $2 ids, $3 on the version they ran? else on what their path runs now. What starting these jobs
-- again takes: `versionId` is null where nothing is deployed there any more, `status` where the job is not over.
select j.id as "id", j.status as "status", j.deleted is not distinct from 'all' as "deleted", v.kind as "kind", v.path as "path", n.id as "versionId", n.priority as "priority",
       n.turns as "turns",
       -- A caller's own tag is kept; else the job goes where its version's jobs go.
       case when j.tag = v.tag then n.tag else j.tag end as "tag"
  from (
    select id, version_id, tag, status, deleted from job_done where workspace_id = $1 and id = any ($2::uuid[]) and part is null
    union all
    select id, version_id, tag, null, null from job where workspace_id = $1 and id = any ($2::uuid[]) and part is null
  ) j
  join flow_version v on v.id = j.version_id
  left join flow f on v.kind = 'flow' and f.workspace_id = v.workspace_id and f.path = v.path and not f.archived
  left join script s on v.kind = 'script' and s.workspace_id = v.workspace_id and s.path = v.path and not s.archived
  left join flow_version n on n.id = case when $3::boolean or v.kind in ('flowpreview', 'preview') then v.id
                                          else coalesce(f.version_id, s.version_id) end;
