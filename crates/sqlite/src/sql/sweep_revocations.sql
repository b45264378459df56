-- ?1 the instant a day ago, ?2 limit
DELETE FROM revocation
WHERE subject IN (SELECT subject FROM revocation WHERE at_ms <= ?1 LIMIT ?2)
