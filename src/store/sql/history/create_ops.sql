-- history/create_ops: where a tester's history is put while it is compared with what is there.
create temporary table history_op (
  op text not null,
  kind text not null, -- ok | fail | unknown
  id uuid,
  key text,
  at timestamptz,
  sha256 text
)
