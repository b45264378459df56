-- ?1 id, ?2 active, ?3 now
UPDATE session
SET active_ms = max(active_ms, ?2)
WHERE id = ?1
    AND ended_ms IS NULL
    AND expires_ms > ?3
    AND started_ms >= (SELECT value FROM setting WHERE name = 'started_before_ms')
