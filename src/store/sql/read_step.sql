-- read_step: $1 workspace, $2 id of the job, $3 step number. The record of that step, and its value as it was printed
-- (the job's result where the record leaves it out). `record` is null while there is none.
with found as (
  select id, version_id, tag, created_by, worker_id, null::text as status, started_at, null::json as result, null::json as steps
    from job where id = $2 and workspace_id = $1
  union all
  select id, version_id, tag, created_by, worker_id, status, started_at, result, steps
    from job_done where id = $2 and workspace_id = $1
)
select f.id as "jobId", f.tag as "tag", f.created_by as "createdBy", f.worker_id as "workerId", f.status as "status",
       f.started_at as "startedAt", v.id as "versionId", v.path as "path", v.value as "value",
       r.record as "record", coalesce(r.record -> 'v', f.result) as "result"
  from found f
  join flow_version v on v.id = f.version_id
  left join lateral (
    select record from (
      select e.value as record from json_array_elements(f.steps) e
      union all
      select j.record from job_journal j where j.job_id = f.id and f.steps is null
    ) all_records
     where (record ->> 'n')::integer = $3 and record ->> 'k' in ('ok', 'err')
     limit 1
  ) r on true;
