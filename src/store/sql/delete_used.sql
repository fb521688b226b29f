-- delete_used: $1 json [{id, due_at, next_s, deleted, args, result, steps, first, last, logs}, …]: what is left of finished jobs takes their
-- place, and the logs go of steps first to last, or of those named. next_s: when more of it goes (null: never). Of a job that retention
-- took (deleted is null) only the entry goes. Nothing is done where due_at holds no longer: someone else came first.
with given as materialized (
  select id, due_at, next_s, deleted, args, result, steps, first, last, logs
    from json_to_recordset($1) as g (id uuid, due_at timestamptz, next_s integer, deleted text, args json, result json, steps json,
                                     first uuid, last uuid, logs uuid[])
), ended as (
  delete from deletion using given
   where deletion.job_id = given.id and deletion.due_at = given.due_at and given.next_s is null
  returning deletion.job_id
), put_off as (
  update deletion set due_at = d.completed_at + given.next_s * interval '1 s'
    from given join job_done d on d.id = given.id
   where deletion.job_id = given.id and deletion.due_at = given.due_at and given.next_s is not null
  returning deletion.job_id
), mine as materialized (
  select given.* from given join (select job_id from ended union all select job_id from put_off) one on one.job_id = given.id
), emptied as (
  update job_done set args = mine.args, result = mine.result, steps = mine.steps, deleted = mine.deleted
    from mine where job_done.id = mine.id and mine.deleted is not null
  returning job_done.id
), no_logs as (
  delete from job_log using mine where job_log.id between mine.first and mine.last
), no_logs_of_steps as (
  delete from job_log using mine where job_log.id = any (mine.logs)
), no_user_states as (
  delete from job_user_state using mine where job_user_state.job_id = mine.id and mine.deleted = 'all'
)
select id from emptied;
