SELECT at_ms, except_id, why, version, kept_to_ms
FROM cloakroom_revocation
WHERE subject = $1 AND at_ms > $2
