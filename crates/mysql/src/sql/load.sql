SELECT
    version, subject, created_ms, started_ms, active_ms, end_ms, idle_s, ended_ms, ended_why, client, authority, data,
    (SELECT started_before_ms FROM cloakroom_setting WHERE id = 1), id
FROM cloakroom_session
WHERE id = :id AND expires_ms > :now
