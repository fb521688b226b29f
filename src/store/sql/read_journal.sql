-- read_journal: $1 worker, $2 json [{id, epoch}, …]: the records of those that it still holds under that epoch, in order. Whoever
-- was declared dead meanwhile reads nothing: its job may be over by now, and its journal gone with it.
select journal.job_id, journal.n, journal.record
  from json_to_recordset($2) as held (id uuid, epoch integer)
  join job on job.id = any (array[held.id]) and job.epoch = held.epoch and job.worker_id = $1
  join job_journal journal on journal.job_id = any (array[job.id])
 order by held.id, journal.n
