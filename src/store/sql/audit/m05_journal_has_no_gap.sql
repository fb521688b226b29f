-- m05_journal_has_no_gap: The records of a journal are numbered 1, 2, 3 and so on.
-- $1 the first job id looked at.
select job_id::text as subject, format('%s records, numbered %s to %s', count(*), min(n), max(n)) as detail
  from job_journal
 where job_id >= $1
 group by job_id
having min(n) <> 1 or max(n) <> count(*);
