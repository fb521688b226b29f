-- take_failures: $1 now (null in production), $2 limit. Failed jobs that their workspace's error handler is to be started for, locked until
-- the transaction ends; one that retention took has no status.
with due as materialized (
  select job_id from failure
   where due_at <= (select coalesce($1::timestamptz, clock_timestamp()))
   order by due_at
   limit $2
     for update skip locked
)
select due.job_id as "id", d.workspace_id as "workspaceId", d.status as "status", d.result as "result", d.created_by as "createdBy",
       coalesce(account.email, d.created_by) as "email", d.started_at as "startedAt", v.path as "path", v.kind as "kind",
       workspace.error_handler as "handler",
       coalesce((coalesce(flow.document, script.document) ->> 'ws_error_handler_muted')::boolean, false) as "muted"
  from due
  left join lateral (select * from job_done where id = due.job_id limit 1) d on true
  left join flow_version v on v.id = d.version_id
  left join workspace on workspace.id = d.workspace_id
  left join account on account.username = d.created_by
  left join flow on v.kind = 'flow' and flow.workspace_id = d.workspace_id and flow.path = v.path
  left join script on v.kind = 'script' and script.workspace_id = d.workspace_id and script.path = v.path;
