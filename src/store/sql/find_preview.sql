-- find_preview: $1 workspace, $2 path, $3 content_hash. The version of an equal preview.
select id as "id", tag as "tag" from flow_version
 where workspace_id = $1 and path = $2 and content_hash = $3 and kind in ('flowpreview', 'preview');
