-- server_recovery: what server_identity asks, for a role that may not know which database this is.
select pg_is_in_recovery() as "inRecovery",
       current_setting('transaction_read_only')::boolean as "readOnly",
       null::text as "systemId",
       null::integer as timeline
