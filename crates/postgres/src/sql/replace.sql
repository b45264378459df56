UPDATE cloakroom_session
SET version = $2, subject = $3, created_ms = $4, started_ms = $5, active_ms = $6, end_ms = $7, idle_s = $8, client = $9,
    epoch = $10, authority = $11, data = $12
WHERE id = $1
    AND version = $13
    AND ended_ms IS NULL
    AND expires_ms > $14
    AND started_ms >= (SELECT started_before_ms FROM cloakroom_setting WHERE id = 1)
