-- send_signal: $1 workspace, $2 job, $3 step number (0: whatever waits next), $4 resume id, $5 approver, $6 approved, $7 payload,
-- $8 the sender's account, if one was logged in; $9 the groups that it was in, if any.
-- A job that waits becomes ready when it has as many signals as it wants, or one that refuses. The job's row is locked, so
-- signals are numbered one after another, and a worker that parks it sees them all (release_jobs). Nothing, if the job is not
-- active or has this one already: also if it came while the lock was waited for, which only the index knows.
with active as materialized (
  select id, signals from job
   where id = $2 and workspace_id = $1
     and not exists (select from signal where job_id = $2 and step = $3 and resume_id = $4)
     for no key update
), kept as (
  insert into signal (job_id, seq, step, resume_id, approver, approved, payload, account, groups)
  select id, signals + 1, $3, $4, $5, $6, $7, $8, $9 from active
  on conflict (job_id, step, resume_id) do nothing
  returning job_id, seq
), told as (
  update job
     set signals = kept.seq,
         state = case when state = 'waiting' and signals_wanted is not null and (not $6 or kept.seq >= signals_wanted) then 'ready'::job_state else state end,
         run_at = case when state = 'waiting' and signals_wanted is not null and (not $6 or kept.seq >= signals_wanted) then null else run_at end
    from kept
   where job.id = any (array[kept.job_id])
  returning job.tag, job.state
)
select tag as "tag", state::text as "state" from told
