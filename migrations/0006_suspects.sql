-- Jobs that were lost before and are ready again: few, and claimed one at a time (see claim_suspect). Workers of the version
-- before can run beside it.
create index job_lost on job (tag, id) where state = 'ready' and lost > 0;
