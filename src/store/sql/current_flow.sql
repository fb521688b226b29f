-- current_flow: $1 workspace, $2 path. What a new job of this flow runs.
select v.id as "versionId", v.tag as "tag", v.priority as "priority", v.turns as "turns",
       v.value ->> 'early_return' is not null as "early",
       v.value -> 'preprocessor_module' is not null as "preprocessed", f.dedicated_worker as "dedicatedWorker"
  from flow f join flow_version v on v.id = f.version_id
 where f.workspace_id = $1 and f.path = $2 and not f.archived;
