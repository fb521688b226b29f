-- delete_flow: $1 workspace, $2 path. Its versions stay: jobs name them. No row: there was none.
with gone as (
  delete from flow where workspace_id = $1 and path = $2
  returning workspace_id, path
)
select pg_notify('millrace_control', 'archive ' || workspace_id || ' ' || path) from gone;
