-- ?1 the instant a day ago
SELECT 1 FROM revocation WHERE at_ms <= ?1 LIMIT 1
