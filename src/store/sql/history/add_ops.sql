-- history/add_ops: $1 json [{op, kind, id, key, at, sha256}, …], at in ms since 1970.
insert into history_op (op, kind, id, key, at, sha256)
select op, kind, id, key, to_timestamp(at / 1000.0), lower(sha256)
  from json_to_recordset($1) as o (op text, kind text, id uuid, key text, at float8, sha256 text)
