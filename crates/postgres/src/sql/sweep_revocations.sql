DELETE FROM cloakroom_revocation
WHERE subject = ANY (ARRAY(
    SELECT subject
    FROM cloakroom_revocation
    WHERE at_ms <= $1
    LIMIT 256
    FOR UPDATE SKIP LOCKED
))
