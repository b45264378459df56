-- A row that somebody is at work on is left for the next time; one that was used again since it was found is looked at
-- again once it is locked.
DELETE FROM cloakroom_session
WHERE id = ANY (ARRAY(
    SELECT id
    FROM cloakroom_session
    WHERE ctid >= $1
        AND ctid < $2
        AND (
            expires_ms <= $3
            OR (
                ended_ms IS NULL
                AND started_ms < (SELECT started_before_ms FROM cloakroom_setting WHERE id = 1)
            )
        )
    LIMIT $4
    FOR UPDATE SKIP LOCKED
))
RETURNING id, subject, ended_ms
