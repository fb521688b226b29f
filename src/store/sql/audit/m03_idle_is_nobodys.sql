-- m03_idle_is_nobodys: A job that does not run belongs to no worker.
-- $1 the first job id looked at.
select id::text as subject, format('is %s, and of worker %s', state, worker_id) as detail
  from job
 where id >= $1 and state <> 'running' and worker_id is not null;
