-- set_user_state: $1 workspace, $2 job, $3 key, $4 value, $5 how many keys a job may have. Nothing, if the job is not active.
with owner as (
  select id, (select count(*) from job_user_state s where s.job_id = $2 and s.key <> $3) >= $5::integer as full
    from job where id = $2 and workspace_id = $1
), kept as (
  insert into job_user_state (job_id, key, value)
  select id, $3, $4 from owner where not owner.full
  on conflict (job_id, key) do update set value = excluded.value
)
select owner.full as "full" from owner;
