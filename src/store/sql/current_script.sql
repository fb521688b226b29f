-- current_script: $1 workspace, $2 path. What a new job of this script runs.
select v.id as "versionId", v.tag as "tag", v.priority as "priority", v.turns as "turns", s.dedicated_worker as "dedicatedWorker"
  from script s join flow_version v on v.id = s.version_id
 where s.workspace_id = $1 and s.path = $2 and not s.archived;
