UPDATE cloakroom_session
SET version = :version, subject = :subject, created_ms = :created, started_ms = :started, active_ms = :active,
    end_ms = :end, idle_s = :idle_s, client = :client, epoch = :epoch, authority = :authority, data = :data
WHERE id = :id
    AND version = :expected
    AND ended_ms IS NULL
    AND expires_ms > :now
    AND started_ms >= (SELECT started_before_ms FROM cloakroom_setting WHERE id = 1)
