-- ?1 subject, ?2 the instant a day ago
SELECT at_ms, except_id, why, version, kept_to_ms
FROM revocation
WHERE subject = ?1 AND at_ms > ?2
