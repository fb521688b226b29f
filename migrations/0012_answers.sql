-- Who answers waiting steps, and what of a job waits. Workers and servers of the version before can run beside it.

-- The account of a sender who was logged in.
alter table signal add column account text;

-- Of waits for answers: which of the job's steps, how many answers more will do, who may give them (anyone, a member, a member who did
-- not start the job), and the module that asks for them.
alter table job_wait add column step integer;
alter table job_wait add column wanted integer;
alter table job_wait add column answered_by text;
alter table job_wait add column module_id text;
alter table job_wait add column version_id bigint;
