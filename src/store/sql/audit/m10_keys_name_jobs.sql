-- m10_keys_name_jobs: Every key names a job that is there or past retention, and no two keys the same.
-- Jobs that absorb others have the keys of those too.
-- $1 the first job id looked at, $2 losses a job survives, $3 days that finished jobs are kept.
with given as (
  select $1::uuid as since, $2::integer as lost_max, $3::integer as retention_days
)
select k.workspace_id || '/' || k.key as subject, format('names job %s, which is not there', k.job_id) as detail
  from job_key k cross join given
 where k.job_id >= given.since and k.created_at > clock_timestamp() - given.retention_days * interval '1 day'
   and not exists (select from job where job.id = k.job_id)
   and not exists (select from job_done d where d.id = k.job_id)
union all
select k.job_id::text, format('has the keys %s', string_agg(k.workspace_id || '/' || k.key, ', '))
  from job_key k cross join given
 where k.job_id >= given.since
   and not exists (select from (select id, version_id from job union all select id, version_id from job_done) j
                     join flow_version v on v.id = j.version_id
                    where j.id = k.job_id and v.turns ->> 'debounce' is not null)
 group by k.job_id
having count(*) > 1;
