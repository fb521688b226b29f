-- token_insert: $1 hash, $2 prefix, $3 label, $4 email, $5 workspace, $6 scopes, $7 read only, $8 expires at.
-- A token that is there already stays as it is.
insert into token (hash, prefix, label, email, workspace_id, scopes, read_only, expires_at)
values ($1, $2, $3, $4, $5, $6, $7, $8)
on conflict (hash) do nothing;
