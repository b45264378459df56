INSERT INTO cloakroom_session (
    id, version, subject, created_ms, started_ms, active_ms, end_ms, idle_s, client, epoch, authority, data
)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
ON CONFLICT (id) DO NOTHING
