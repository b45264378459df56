SELECT version, subject, created_ms, started_ms, active_ms, end_ms, idle_s, ended_ms, ended_why, client, authority, data
FROM cloakroom_session
WHERE id = $1
    AND expires_ms > $2
    AND (
        ended_ms IS NOT NULL
        OR started_ms >= (SELECT started_before_ms FROM cloakroom_setting WHERE id = 1)
    )
