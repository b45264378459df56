SELECT id, created_ms, started_ms, active_ms, end_ms, idle_s, client
FROM cloakroom_session
WHERE subject = :subject
    AND id > :after
    AND ended_ms IS NULL
    AND expires_ms > :now
    AND started_ms >= (SELECT started_before_ms FROM cloakroom_setting WHERE id = 1)
ORDER BY id
LIMIT :limit
