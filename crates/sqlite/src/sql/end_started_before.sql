-- ?1 instant
UPDATE setting
SET value = max(value, ?1)
WHERE name = 'started_before_ms'
