-- read_job_parent: $1 workspace, $2 id. The topmost job that (through others) started this one; no row if there is no such job.
with recursive up (id, parent_id, depth) as (
  select id, parent_id, 0 from (
    select id, parent_id from job where id = $2 and workspace_id = $1
    union all
    select id, parent_id from job_done where id = $2 and workspace_id = $1
  ) me
  union all
  select p.id, p.parent_id, up.depth + 1
    from up cross join lateral (
      select id, parent_id from job where id = up.parent_id and workspace_id = $1
      union all
      select id, parent_id from job_done where id = up.parent_id and workspace_id = $1
    ) p
   where up.depth < 100
)
select id as "rootId" from up order by depth desc limit 1;
