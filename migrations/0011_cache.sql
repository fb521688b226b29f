-- Results of steps, flows and scripts with cache_ttl. Workers of the version before can run beside it; they look nothing up.
create table result_cache (
  key text primary key, -- src/worker/cache.ts
  result json not null,
  expires_at timestamptz not null
);
create index result_cache_expires on result_cache (expires_at);
