-- look_up: $1 json [{i, kind, ws, path}, …]. The values of those that there are: a variable's text as JSON, sealed if it is a secret.
select x.i as "i", to_json(v.value) as "value", v.is_secret as "isSecret"
  from json_to_recordset($1) as x (i integer, kind text, ws text, path text)
  join variable v on v.workspace_id = x.ws and v.path = x.path
 where x.kind = 'variable'
union all
select x.i, r.value, false
  from json_to_recordset($1) as x (i integer, kind text, ws text, path text)
  join resource r on r.workspace_id = x.ws and r.path = x.path
 where x.kind = 'resource'
