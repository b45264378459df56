-- Rows are locked in the order of their ids, so that no two revocations wait for each other. One that changed hands
-- since this statement began isn't among them: a row is looked at again once it is locked.
-- What has expired by the revoker's clock may live by another's, and ends by every clock: it is gone, and not reported.
-- The sweep still tells whose it was.
WITH found AS MATERIALIZED (
    SELECT
        id,
        expires_ms > $4
            AND coalesce(started_ms >= (SELECT started_before_ms FROM cloakroom_setting WHERE id = 1), true) AS is_alive
    FROM cloakroom_session
    WHERE subject = $1
        AND id >= $2
        AND ($3::uuid IS NULL OR id <> $3)
        AND ended_ms IS NULL
    ORDER BY id
    LIMIT $5
    FOR UPDATE
)
UPDATE cloakroom_session AS session
SET end_ms = CASE WHEN is_alive THEN $7 ELSE 0 END,
    version = CASE WHEN is_alive THEN $6 ELSE session.version END,
    ended_ms = CASE WHEN is_alive THEN $8 END,
    ended_why = CASE WHEN is_alive THEN $9 END,
    subject = CASE WHEN is_alive THEN NULL ELSE session.subject END,
    client = CASE WHEN is_alive THEN NULL ELSE session.client END,
    epoch = CASE WHEN is_alive THEN NULL ELSE session.epoch END,
    authority = CASE WHEN is_alive THEN NULL ELSE session.authority END,
    data = CASE WHEN is_alive THEN NULL ELSE session.data END
FROM found
WHERE session.id = found.id
RETURNING session.id, is_alive
