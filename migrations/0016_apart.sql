-- Steps apart: a step that is a job of its own, a part of its job (src/core/flow/apart.ts). It may wait for a turn. Workers and servers of
-- the version before must be stopped first where flows have such steps: they do not know these parts, nor what to lock.

-- Makes parts that have a turn to wait for: [{i, id, ws, v, tag, p, args, by, trace, parent, step, slot, part, turn: {key, max?, window?}},
-- …], which they get in the order of i. Gives the tags of jobs that are ready. Null: no parts.
create function turn_parts(batch json) returns text[] language plpgsql strict as $$
declare
  keys text[];
begin
  select array_agg(distinct x.turn ->> 'key') into keys from json_to_recordset(batch) as x (turn json);
  perform turn_lock(keys);
  insert into job (id, workspace_id, version_id, tag, priority, args, created_by, trace, parent_id, parent_step, parent_slot, part, state)
  select id, ws, v, tag, p, args, by, trace, parent, step, slot, part, 'waiting'
    from json_to_recordset(batch) as x
         (id uuid, ws text, v bigint, tag text, p smallint, args json, by text, trace text, parent uuid, step integer, slot integer, part text);
  insert into turn (job_id, key, jobs_max, window_ms)
  select id, turn ->> 'key', (turn ->> 'max')::integer, (turn ->> 'window')::bigint
    from json_to_recordset(batch) as x (i integer, id uuid, turn json)
   order by i;
  return turn_grant(keys);
end $$;

-- Before these jobs are taken away, and their parts told to stop: see turn_lock. True.
drop function turn_lock_of(uuid);
create function turn_lock_of(ids uuid[]) returns boolean language plpgsql as $$
begin
  perform turn_lock(array(
    select turn.key from turn where turn.job_id = any (ids)
    union
    select turn.key from job join turn on turn.job_id = job.id
     where job.parent_id is not null and job.parent_id = any (ids) and job.part is not null));
  return true;
end $$;
