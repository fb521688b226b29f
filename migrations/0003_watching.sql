-- What is seen from outside: the trace an event belongs to, carried from its request to its steps and kept with the job, and
-- what a worker counts, told with its heartbeats. Workers and servers of before can go on beside it: they leave both empty.
alter table job add column trace text; -- W3C Trace Context: traceparent, and tracestate after a space
alter table job_done add column trace text;
alter table worker add column counts json not null default '{}';
