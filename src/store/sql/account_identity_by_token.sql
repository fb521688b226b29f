-- account_identity_by_token: $1 the token's SHA-256. Whose it is and where they may go; no row for a token that is unknown
-- or over. Notes at most once a minute that the token is in use.
with used as (
  update token set last_used_at = clock_timestamp()
   where hash = $1 and (last_used_at is null or last_used_at < clock_timestamp() - interval '1 minute')
)
select a.email as "email", a.username as "username", a.super_admin as "superAdmin", a.created_at as "createdAt", t.workspace_id as "workspaceId",
       t.scopes as "scopes", t.read_only as "readOnly", t.expires_at as "expiresAt",
       coalesce((select json_object_agg(m.workspace_id, json_build_object('isAdmin', m.is_admin, 'operator', m.operator))
                   from member m where m.email = a.email), '{}') as "members"
  from token t join account a on a.email = t.email
 where t.hash = $1 and (t.expires_at is null or t.expires_at > clock_timestamp());
