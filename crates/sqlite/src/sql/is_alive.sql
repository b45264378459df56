-- ?1 id, ?2 now
SELECT 1
FROM session
WHERE id = ?1
    AND ended_ms IS NULL
    AND expires_ms > ?2
    AND started_ms >= (SELECT value FROM setting WHERE name = 'started_before_ms')
