UPDATE cloakroom_setting
SET started_before_ms = greatest(started_before_ms, $1)
WHERE id = 1
