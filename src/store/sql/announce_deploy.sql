-- announce_deploy: $1 message. Heard when the transaction commits.
select pg_notify('millrace_control', $1);
