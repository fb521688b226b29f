-- link_replays: $1 json [{id, of}, …], $2 who. Jobs that were started again, and which.
insert into job_replay (job_id, replay_of, created_by)
select id, "of", $2 from json_to_recordset($1) as x (id uuid, "of" uuid)
