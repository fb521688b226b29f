-- finish_jobs: $1 worker_id, $2 json [{id, epoch, status, result, steps}, …]: out of job, into job_done, in one statement.
-- Returns the ids that were no longer ours (usually none): each claim raises epoch, so a late result matches nothing.
-- $3: the commit itself tells the servers that have a caller waiting, which saves a lone job a round trip; only for small
-- batches, since commits that notify go one after another. Rows without an id are those told.
with done as materialized (
  select id, epoch, status, coalesce(result, 'null') as result, steps
    from json_to_recordset($2) as d (id uuid, epoch integer, status text, result json, steps json)
), ours as (
  delete from job using done
   where job.id = any (array[done.id]) and job.worker_id = $1 and job.epoch = done.epoch and job.state = 'running'
  returning job.id, job.workspace_id, job.version_id, job.tag, job.worker_id, job.lost, job.args, job.created_by,
            job.started_at, job.parent_id, job.journaled, job.waiter, job.canceled_by, job.canceled_reason, job.trace,
            done.status, done.result, done.steps
), forgotten as (
  delete from job_journal using ours where ours.journaled and job_journal.job_id = any (array[ours.id])
), kept as (
  insert into job_done (id, workspace_id, version_id, tag, status, worker_id, lost, args, result, steps, created_by,
                        started_at, parent_id, canceled_by, canceled_reason, trace)
  select id, workspace_id, version_id, tag, status, worker_id, lost, args, result, steps, created_by,
         started_at, parent_id, canceled_by, canceled_reason, trace
    from ours
)
select done.id from done where not exists (select from ours where ours.id = done.id)
union all
select null
  from (
    select pg_notify('millrace_done_' || waiter,
                     case when octet_length(result::text) < 7900 then concat_ws(' ', id, status, result::text)
                          else concat_ws(' ', id, status) end)
      from ours where $3 and waiter is not null
  ) as told
