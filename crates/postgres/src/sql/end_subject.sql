-- Rows are locked in the order of their ids, so that no two revocations wait for each other. One that changed hands
-- since this statement began isn't among them: a row is looked at again once it is locked.
WITH found AS MATERIALIZED (
    SELECT id
    FROM cloakroom_session
    WHERE subject = $1
        AND id >= $2
        AND ($3::uuid IS NULL OR id <> $3)
        AND ended_ms IS NULL
        AND expires_ms > $4
        AND started_ms >= (SELECT started_before_ms FROM cloakroom_setting WHERE id = 1)
    ORDER BY id
    LIMIT $5
    FOR UPDATE
)
UPDATE cloakroom_session AS session
SET version = $6, end_ms = $7, ended_ms = $8, ended_why = $9,
    subject = NULL, client = NULL, epoch = NULL, authority = NULL, data = NULL
FROM found
WHERE session.id = found.id
RETURNING session.id
