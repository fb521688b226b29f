-- session_settings: what holds for one connection, all in ms. $1: the longest wait for a lock (then 55P03, and the statement is
-- sent again). $2: the longest statement (0: any). $3: how long a transaction may stand still, since it holds back vacuum.
-- Plans do not depend on what was in the tables when they were made (statements.ts).
-- The rest lets the server notice within a minute that this process is gone without a word (its lock and its connection are
-- free then): by default that takes two hours.
select set_config('lock_timeout', $1, false),
       set_config('statement_timeout', $2, false),
       set_config('idle_in_transaction_session_timeout', $3, false),
       set_config('enable_seqscan', 'off', false),
       set_config('enable_sort', 'off', false),
       set_config('plan_cache_mode', 'force_generic_plan', false),
       set_config('tcp_user_timeout', '60000', false),
       set_config('tcp_keepalives_idle', '30', false),
       set_config('tcp_keepalives_interval', '10', false),
       set_config('tcp_keepalives_count', '3', false)
