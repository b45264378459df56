UPDATE cloakroom_setting
SET started_before_ms = GREATEST(started_before_ms, :instant)
WHERE id = 1
