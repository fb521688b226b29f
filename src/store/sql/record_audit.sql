-- record_audit: switches audit mode on ($1 true: a new record begins) or off (what was recorded stays). "changed" is false if it was
-- so already. Locks the tables for a moment: callers set lock_timeout.
select audit_record($1) as "changed";
