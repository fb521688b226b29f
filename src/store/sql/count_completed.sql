-- count_completed: $1 workspace (null: all), $2 tags (null: all), $3 success (null: both), $4 ids from.
select count(*)::integer as "jobs"
  from job_done
 where ($1::text is null or workspace_id = $1) and ($2::text[] is null or tag = any ($2))
   and ($3::boolean is null or (status in ('success', 'skipped')) = $3)
   and id >= coalesce($4::uuid, '00000000-0000-0000-0000-000000000000');
