-- i20_one_version: A job stays on the flow version it was accepted for.
-- needs: recording
-- $1 the first job id looked at.
select job_id::text as subject, format('versions %s', string_agg(distinct version_id::text, ', ')) as detail
  from (select job_id, version_id from audit_transition where job_id >= $1
        union all
        select job_id, version_id from audit_end where job_id >= $1) seen
 group by job_id
having min(version_id) <> max(version_id);
