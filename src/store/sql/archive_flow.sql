-- archive_flow: $1 workspace, $2 path. Kept, but no longer listed or run. Whoever keeps what is deployed looks again.
-- No row: there was none.
with archived as (
  update flow set archived = true where workspace_id = $1 and path = $2 and not archived
  returning workspace_id, path, version_id
)
select pg_notify('millrace_control', 'deploy ' || workspace_id || ' ' || path || ' ' || version_id) from archived;
