-- version_of_script: $1 workspace, $2 version. Any version that was ever deployed as a script, current or not.
select id as "versionId", path as "path", tag as "tag", priority as "priority", turns as "turns"
  from flow_version where id = $2 and workspace_id = $1 and kind = 'script';
