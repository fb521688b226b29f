-- database_facts: what checks.ts wants to know of a server.
select current_setting('server_version') as version,
       current_setting('server_version_num')::int as "versionNumber",
       current_setting('default_transaction_read_only')::boolean as "readOnly",
       current_setting('server_encoding') as encoding,
       current_setting('fsync')::boolean as fsync,
       current_setting('full_page_writes')::boolean as "fullPageWrites",
       current_setting('synchronous_commit') as "synchronousCommit",
       current_setting('synchronous_standby_names') as "standbyNames",
       (select count(*)::int from pg_stat_replication where state = 'streaming') as standbys,
       current_setting('max_connections')::int as "connectionsMax";
