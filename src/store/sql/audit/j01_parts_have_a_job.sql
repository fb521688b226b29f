-- j01_parts_have_a_job: A part of a job belongs to one that goes on, or was asked to stop.
-- $1 the first job id looked at. What runs in the place of several is a part of none.
select part.id::text as subject, format('is part %s of step %s of %s, which is not active', parent_slot, part, parent_id) as detail
  from job part
 where id >= $1 and part is not null and parent_id is not null and canceled_by is null and not exists (select from job where job.id = part.parent_id);
