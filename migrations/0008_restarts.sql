-- Jobs that were started again from the middle of another one. Workers of the version before can run beside it.

alter table job_replay add column from_step text; -- null: from the beginning
alter table job_replay add column from_slot integer; -- which iteration or branch of it
