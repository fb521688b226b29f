-- delete_script: $1 workspace, $2 path. Its versions stay: jobs name them. Whoever keeps what is deployed looks again.
-- No row: there was none.
with gone as (
  delete from script where workspace_id = $1 and path = $2
  returning workspace_id, path, version_id
)
select pg_notify('millrace_control', 'deploy ' || workspace_id || ' ' || path || ' ' || version_id) from gone;
