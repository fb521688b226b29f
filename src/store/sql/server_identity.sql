-- server_identity: which database this is, and whether it takes writes. A fail-over keeps the system identifier and raises the
-- timeline; of two servers that both take writes, the one of the lower timeline is the old primary.
select pg_is_in_recovery() as "inRecovery",
       current_setting('transaction_read_only')::boolean as "readOnly",
       (select system_identifier::text from pg_control_system()) as "systemId",
       case when pg_is_in_recovery() then null
            else ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::bigint::integer end as timeline
