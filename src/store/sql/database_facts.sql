-- database_facts: what checks.ts wants to know of a server.
select current_setting('server_version') as version,
       current_setting('server_version_num')::int as "versionNumber",
       pg_is_in_recovery() as "inRecovery",
       current_setting('default_transaction_read_only')::boolean as "readOnly",
       current_setting('server_encoding') as encoding,
       current_setting('fsync')::boolean as fsync,
       current_setting('full_page_writes')::boolean as "fullPageWrites",
       current_setting('synchronous_commit') <> 'off' as "synchronousCommit",
       current_setting('max_connections')::int as "connectionsMax";
