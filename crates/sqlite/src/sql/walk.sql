-- ?1 the row before the first, ?2 the last row, ?3 now, ?4 limit
-- Rows in their order, and whether each can be removed.
SELECT
    rowid,
    expires_ms <= ?3
    OR (
        ended_ms IS NULL
        AND started_ms < (SELECT value FROM setting WHERE name = 'started_before_ms')
    )
FROM session
WHERE rowid > ?1 AND rowid <= ?2
ORDER BY rowid
LIMIT ?4
