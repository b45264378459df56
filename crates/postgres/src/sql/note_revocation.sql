INSERT INTO cloakroom_revocation AS noted (subject, at_ms, except_id, why, version, kept_to_ms)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (subject) DO UPDATE
SET at_ms = excluded.at_ms, except_id = excluded.except_id, why = excluded.why, version = excluded.version,
    kept_to_ms = excluded.kept_to_ms
WHERE excluded.at_ms >= noted.at_ms
