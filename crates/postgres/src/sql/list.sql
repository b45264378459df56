SELECT id, created_ms, started_ms, active_ms, end_ms, idle_s, client
FROM cloakroom_session
WHERE subject = $1
    AND id >= $2
    AND ended_ms IS NULL
    AND expires_ms > $3
    AND started_ms >= (SELECT started_before_ms FROM cloakroom_setting WHERE id = 1)
ORDER BY id
LIMIT $4
