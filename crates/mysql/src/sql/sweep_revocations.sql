DELETE FROM cloakroom_revocation WHERE at_ms <= :since LIMIT 256
