SELECT
    id,
    expires_ms > :now AND started_ms >= (SELECT started_before_ms FROM cloakroom_setting WHERE id = 1)
FROM cloakroom_session
WHERE subject = :subject AND id > :after AND ended_ms IS NULL
ORDER BY id
LIMIT :limit
FOR UPDATE
