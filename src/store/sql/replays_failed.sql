-- replays_failed: $1 workspace, $2 path (null: all), $3 the first id, $4 the id before which, $5 only poison?, $6 on the version they
-- ran?, $7 limit. As replays_named, for jobs that failed and were not started again yet, newest first.
select d.id as "id", d.status as "status", false as "deleted", v.kind as "kind", v.path as "path", n.id as "versionId", n.priority as "priority",
       n.turns as "turns",
       -- A caller's own tag is kept; else the job goes where its version's jobs go.
       case when d.tag = v.tag then n.tag else d.tag end as "tag"
  from job_done d
  join flow_version v on v.id = d.version_id
  left join flow f on v.kind = 'flow' and f.workspace_id = v.workspace_id and f.path = v.path and not f.archived
  left join script s on v.kind = 'script' and s.workspace_id = v.workspace_id and s.path = v.path and not s.archived
  left join flow_version n on n.id = case when $6::boolean or v.kind in ('flowpreview', 'preview') then v.id
                                          else coalesce(f.version_id, s.version_id) end
 where d.workspace_id = $1 and d.status = 'failure'
   and (not $5::boolean or (d.status = 'failure' and d.lost > 0 and d.result -> 'error' ->> 'name' = 'PoisonJob'))
   and ($2::text is null or v.path = $2)
   and d.id >= coalesce($3::uuid, '00000000-0000-0000-0000-000000000000')
   and ($4::uuid is null or d.id < $4)
   and d.deleted is distinct from 'all'
   and d.part is null -- its job is what can be started again
   and not exists (select from job_replay r where r.replay_of = d.id)
 order by d.id desc
 limit $7;
