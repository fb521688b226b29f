-- Parts: jobs that run some iterations of another one's loop. Workers of the version before cannot run beside this once a loop is
-- spread: they would take a part for a run of the whole flow. Stop them first.

-- part: the step whose iterations it runs; parent_step: that step's number in the job parent_id; parent_slot: which part.
alter table job add column parent_step integer;
alter table job add column part text;
create unique index job_part on job (parent_id, parent_step, parent_slot) where parent_id is not null;

alter table job_done add column parent_step integer;
alter table job_done add column parent_slot integer;
alter table job_done add column part text;
