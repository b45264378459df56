-- ?1 subject, ?2 version, ?3 ended, ?4 why, ?5 kept to, ?6 the id that stays or NULL, ?7 now
UPDATE session
SET version = ?2, ended_ms = ?3, ended_why = ?4, end_ms = ?5,
    subject = NULL, client = NULL, epoch = NULL, authority = NULL, data = NULL
WHERE subject = ?1
    AND id IS NOT ?6
    AND ended_ms IS NULL
    AND expires_ms > ?7
    AND started_ms >= (SELECT value FROM setting WHERE name = 'started_before_ms')
RETURNING id_bytes
