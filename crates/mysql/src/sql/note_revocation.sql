INSERT INTO cloakroom_revocation (subject, at_ms, except_id, why, version, kept_to_ms)
VALUES (:subject, :at, :except, :why, :version, :kept_to)
ON DUPLICATE KEY UPDATE
    except_id = IF(:at >= at_ms, :except, except_id),
    why = IF(:at >= at_ms, :why, why),
    version = IF(:at >= at_ms, :version, version),
    kept_to_ms = IF(:at >= at_ms, :kept_to, kept_to_ms),
    at_ms = GREATEST(at_ms, :at)
