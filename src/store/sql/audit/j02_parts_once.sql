-- j02_parts_once: Each part of a job is one job.
-- $1 the first job id looked at.
select parent_id::text as subject, format('part %s of its step %s is %s jobs', parent_slot, parent_step, count(*)) as detail
  from (select id, parent_id, parent_step, parent_slot from job where part is not null
        union all
        select id, parent_id, parent_step, parent_slot from job_done where part is not null) part
 where id >= $1 and parent_id is not null
 group by parent_id, parent_step, parent_slot
having count(*) > 1;
