SELECT
    id,
    expires_ms <= :now
    OR (
        ended_ms IS NULL
        AND started_ms < COALESCE((SELECT started_before_ms FROM cloakroom_setting WHERE id = 1), 0)
    )
FROM cloakroom_session
WHERE id > :after AND id <= :to
ORDER BY id
LIMIT :limit
