UPDATE cloakroom_session
SET version = $2, end_ms = $3, ended_ms = $4, ended_why = $5,
    subject = NULL, client = NULL, epoch = NULL, authority = NULL, data = NULL
WHERE id = $1
    AND ($6::bigint IS NULL OR version = $6)
    AND ended_ms IS NULL
    AND expires_ms > $7
    AND started_ms >= (SELECT started_before_ms FROM cloakroom_setting WHERE id = 1)
