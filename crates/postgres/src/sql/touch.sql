UPDATE cloakroom_session
SET active_ms = greatest(active_ms, $2)
WHERE id = $1
    AND ended_ms IS NULL
    AND expires_ms > $3
    AND started_ms >= (SELECT started_before_ms FROM cloakroom_setting WHERE id = 1)
