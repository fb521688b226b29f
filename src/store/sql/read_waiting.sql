-- read_waiting: $1 workspace, $2 job, $3 email of whoever may come to answer (null: nobody known). What an active job waits for (nothing,
-- unless its state is waiting), the one whose time is over first before the others; the most that its flow asks of who answers, were it
-- not for groups, which are known when a step waits; and the groups that $3 is in.
select job.state::text as "state", job.created_by as "createdBy",
       case when version.value::text ~ '"self_approval_disabled"\s*:\s*true' then 'other'
            when version.value::text ~ '"user_auth_required"\s*:\s*true' then 'member'
            when version.value::text ~ '"user_groups_required"\s*:\s*\{[^{}]*("expr"|\[\s*")' then 'member'
            else 'anyone' end as "strictest",
       coalesce((select json_agg(json_build_object('step', step, 'wanted', wanted, 'by', answered_by, 'groups', coalesce(groups, '{}'),
                                                   'until', until, 'moduleId', module_id, 'versionId', version_id::text) order by until)
                   from job_wait
                  where job_wait.job_id = job.id and job.state = 'waiting' and wanted is not null), '[]') as "waits",
       array(select name from group_member where workspace_id = $1 and email = $3 order by name) as "groups"
  from job join flow_version version on version.id = job.version_id
 where job.id = $2 and job.workspace_id = $1;
