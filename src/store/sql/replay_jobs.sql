-- replay_jobs: $1 workspace, $2 json [{id, of, v, tag, p}, …], $3 who. New jobs with the arguments of finished ones, and the
-- link between the two. Returns the ids of those made (the old job may have gone with its day meanwhile).
with asked as materialized (
  select id, "of", v, tag, p from json_to_recordset($2) as x (id uuid, "of" uuid, v bigint, tag text, p smallint)
), added as (
  insert into job (id, workspace_id, version_id, tag, priority, args, created_by)
  select asked.id, $1, asked.v, asked.tag, asked.p, d.args, $3
    from asked join job_done d on d.id = asked."of" and d.workspace_id = $1
  returning id
)
insert into job_replay (job_id, replay_of, created_by)
select asked.id, asked."of", $3 from asked join added on added.id = asked.id
returning job_id as "id";
