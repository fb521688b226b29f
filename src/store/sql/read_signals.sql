-- read_signals: $1 json [{id, seq}, …]: the signals of these jobs after those they have had, in order.
select signal.job_id, signal.seq, signal.step as "n", signal.resume_id::float8 as "resume_id", signal.approver, signal.account,
       signal.groups, signal.approved, signal.payload
  from json_to_recordset($1) as held (id uuid, seq integer)
  join signal on signal.job_id = any (array[held.id]) and signal.seq > held.seq
 order by held.id, signal.seq
