-- m11_keys_stay: A key is never given to another job.
-- needs: recording
-- $1 the first job id looked at.
select workspace_id || '/' || key as subject, format('%s: job %s, before it %s', op, job_id, before_job) as detail
  from (select workspace_id, key, op, job_id, lag(op) over bykey as before_op, lag(job_id) over bykey as before_job
          from audit_key
        window bykey as (partition by workspace_id, key order by n)) changes
 where job_id >= $1 and (op = 'update' or (op = 'insert' and before_op in ('insert', 'update')));
