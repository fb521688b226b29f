-- lock_path: $1 what is being deployed, as text. Deploys of one path come one after another; held until the transaction ends.
select pg_advisory_xact_lock(hashtextextended($1, 0));
