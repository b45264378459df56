SELECT 1
FROM cloakroom_session
WHERE id = $1
    AND ended_ms IS NULL
    AND expires_ms > $2
    AND started_ms >= (SELECT started_before_ms FROM cloakroom_setting WHERE id = 1)
