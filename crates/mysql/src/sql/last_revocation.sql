SELECT at_ms, except_id, why, version, kept_to_ms
FROM cloakroom_revocation
WHERE subject = :subject AND at_ms > :since
