-- load_version: $1 id.
select id as "id", workspace_id as "workspaceId", path as "path", kind as "kind", tag as "tag", priority as "priority",
       value as "value", built as "built"
  from flow_version where id = $1;
