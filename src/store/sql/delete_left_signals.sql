-- delete_left_signals: answers to jobs that are over. One may come when its job ends without having looked for any; a job that has
-- seen one takes them all with it. (An answer is stored with a change of its job's row, so one without that row is left for good.)
delete from signal where not exists (select from job where job.id = signal.job_id);
