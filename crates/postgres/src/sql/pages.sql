SELECT pg_relation_size('cloakroom_session'::regclass) / current_setting('block_size')::bigint
