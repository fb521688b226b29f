-- run_target_of_flow_version: $1 workspace, $2 version. Any version that was ever deployed as a flow, current or not.
select id as "versionId", tag as "tag", priority as "priority", path as "path", turns as "turns",
       value ->> 'early_return' is not null as "early",
       value -> 'preprocessor_module' is not null as "preprocessed"
  from flow_version where id = $2 and workspace_id = $1 and kind = 'flow';
