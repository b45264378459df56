INSERT INTO cloakroom_session (
    id, version, subject, created_ms, started_ms, active_ms, end_ms, idle_s, client, epoch, authority, data
)
VALUES (
    :id, :version, :subject, :created, :started, :active, :end, :idle_s, :client, :epoch, :authority, :data
)
