-- ?1 subject, ?2 at, ?3 except, ?4 why, ?5 version, ?6 tombstones kept to
-- Of two revocations the later one stays, in whichever order they arrive: it means the sessions of both.
INSERT INTO revocation (subject, at_ms, except_id, why, version, kept_to_ms)
VALUES (?1, ?2, ?3, ?4, ?5, ?6)
ON CONFLICT (subject) DO UPDATE
SET at_ms = excluded.at_ms, except_id = excluded.except_id, why = excluded.why, version = excluded.version,
    kept_to_ms = excluded.kept_to_ms
WHERE excluded.at_ms >= revocation.at_ms
