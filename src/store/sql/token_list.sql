-- token_list: $1 email, $2 limit, $3 offset.
select prefix as "prefix", label as "label", workspace_id as "workspaceId", scopes as "scopes", read_only as "readOnly",
       expires_at as "expiresAt", created_at as "createdAt", last_used_at as "lastUsedAt"
  from token where email = $1
 order by created_at desc, prefix
 limit $2 offset $3;
