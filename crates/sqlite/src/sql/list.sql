-- ?1 subject, ?2 bytes of the id before the page, ?3 now, ?4 limit
SELECT id_bytes, created_ms, started_ms, active_ms, end_ms, idle_s, client
FROM session
WHERE subject = ?1
    AND id_bytes > ?2
    AND ended_ms IS NULL
    AND expires_ms > ?3
    AND started_ms >= (SELECT value FROM setting WHERE name = 'started_before_ms')
ORDER BY id_bytes
LIMIT ?4
