-- clear_audit: forgets what audit mode has recorded.
select audit_clear();
