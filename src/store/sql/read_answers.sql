-- read_answers: $1 job, $2 step (0: whatever waits). The answers that were sent, in order.
select resume_id::float8 as "resumeId", approver, approved from signal where job_id = $1 and step = $2 order by seq;
