-- save_artifacts: $1 json [{key, language, content, lock}, …]. What is there already stays as it is: equal keys are equal code.
insert into artifact (key, language, content, lock)
select a.key, a.language, a.content, a.lock
  from json_to_recordset($1) as a (key text, language text, content text, lock text)
 order by a.key
on conflict (key) do nothing;
