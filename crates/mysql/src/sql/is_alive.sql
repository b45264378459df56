SELECT 1
FROM cloakroom_session
WHERE id = :id
    AND ended_ms IS NULL
    AND expires_ms > :now
    AND started_ms >= (SELECT started_before_ms FROM cloakroom_setting WHERE id = 1)
