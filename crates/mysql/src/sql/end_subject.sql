UPDATE cloakroom_session
SET version = :version, end_ms = :kept_to, ended_ms = :at, ended_why = :why,
    subject = NULL, client = NULL, epoch = NULL, authority = NULL, data = NULL
WHERE id = :id
    AND subject = :subject
    AND ended_ms IS NULL
    AND expires_ms > :now
    AND started_ms >= (SELECT started_before_ms FROM cloakroom_setting WHERE id = 1)
