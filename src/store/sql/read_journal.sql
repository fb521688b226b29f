-- read_journal: the records of the jobs $1 (uuid[]), in order.
select job_id, n, record from job_journal where job_id = any ($1::uuid[]) order by job_id, n
