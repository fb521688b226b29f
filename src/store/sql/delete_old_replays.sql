-- delete_old_replays: links between jobs that retention took. $1 the first id kept.
delete from job_replay where replay_of < $1 and job_id < $1;
