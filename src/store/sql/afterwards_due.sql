-- afterwards_due: is there something to be done after the end of jobs?
select exists (select from failure where due_at <= (select clock_timestamp())) as "failures",
       exists (select from deletion where due_at <= (select clock_timestamp())) as "deletions";
