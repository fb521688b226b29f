-- h01_landed_is_finished: Every event that is there has been finished.
-- needs: history, settle
-- $1 the first job id looked at.
select e.op as subject, format('job %s is %s', e.job_id, job.state) as detail
  from audit_event e join job on job.id = e.job_id
 where e.job_id >= $1 and e.op in (select op from history_op);
