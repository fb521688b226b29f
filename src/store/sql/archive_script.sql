-- archive_script: $1 workspace, $2 path. Kept, but no longer listed or run. No row: there was none.
with archived as (
  update script set archived = true where workspace_id = $1 and path = $2 and not archived
  returning workspace_id, path
)
select pg_notify('millrace_control', 'archive ' || workspace_id || ' ' || path) from archived;
