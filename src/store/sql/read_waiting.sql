-- read_waiting: $1 workspace, $2 job. What an active job waits for (nothing, unless its state is waiting), the one whose time is over first
-- before the others; and the most that its flow asks of who answers.
select job.state::text as "state", job.created_by as "createdBy",
       case when version.value::text ~ '"self_approval_disabled"\s*:\s*true' then 'other'
            when version.value::text ~ '"user_auth_required"\s*:\s*true' then 'member'
            else 'anyone' end as "strictest",
       coalesce((select json_agg(json_build_object('step', step, 'wanted', wanted, 'by', answered_by, 'until', until,
                                                   'moduleId', module_id, 'versionId', version_id::text) order by until)
                   from job_wait
                  where job_wait.job_id = job.id and job.state = 'waiting' and wanted is not null), '[]') as "waits"
  from job join flow_version version on version.id = job.version_id
 where job.id = $2 and job.workspace_id = $1;
