-- ?1 rows as a JSON array, ?2 now
-- A row may have been touched, or used again, since it was found: so the condition is checked once more.
DELETE FROM session
WHERE rowid IN (SELECT value FROM json_each(?1))
    AND (
        expires_ms <= ?2
        OR (
            ended_ms IS NULL
            AND started_ms < (SELECT value FROM setting WHERE name = 'started_before_ms')
        )
    )
RETURNING id_bytes, subject, ended_ms
