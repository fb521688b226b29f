-- get_error_handler: $1 workspace. Its settings.
select id as "id", name as "name", error_handler as "errorHandler" from workspace where id = $1 and not archived;
