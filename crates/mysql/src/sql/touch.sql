UPDATE cloakroom_session
SET active_ms = GREATEST(active_ms, :active)
WHERE id = :id
    AND ended_ms IS NULL
    AND expires_ms > :now
    AND started_ms >= (SELECT started_before_ms FROM cloakroom_setting WHERE id = 1)
