-- set_error_handler: $1 workspace, $2 the handler (null: none).
update workspace set error_handler = $2 where id = $1;
