-- token_delete: $1 email, $2 prefix.
delete from token where email = $1 and prefix = $2 returning prefix;
