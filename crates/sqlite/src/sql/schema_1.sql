-- Step 1 of the file's layout. Later steps are files of their own: a step that was released is never edited, and a
-- step only adds, because processes of the version before may have the file open.

-- One row a session, and one for what is left of a session that ended: so one uniqueness rule keeps ids from being
-- used twice. Times are milliseconds since 1970. There is no index on expires_ms: it would be moved by nearly every
-- write, and halve their number; sweeping walks the rows in slices instead.
CREATE TABLE session (
    id         TEXT    NOT NULL UNIQUE CHECK (length(id) = 22),
    -- The same id, for listings in the order of ids, which isn't the order of their texts.
    id_bytes   BLOB    NOT NULL CHECK (length(id_bytes) = 16),
    version    INTEGER NOT NULL,
    subject    TEXT    CHECK (subject <> ''),
    created_ms INTEGER NOT NULL CHECK (created_ms >= 0),
    started_ms INTEGER NOT NULL CHECK (started_ms >= 0),
    active_ms  INTEGER NOT NULL CHECK (active_ms >= 0),
    -- The absolute end; where ended_ms is set, until when this row is kept.
    end_ms     INTEGER NOT NULL CHECK (end_ms >= 0),
    idle_s     INTEGER NOT NULL CHECK (idle_s BETWEEN 0 AND 4294967295),
    expires_ms INTEGER NOT NULL GENERATED ALWAYS AS (
        CASE WHEN ended_ms IS NULL THEN min(active_ms + 1000 * idle_s, end_ms) ELSE end_ms END
    ) VIRTUAL,
    ended_ms   INTEGER CHECK (ended_ms >= 0),
    ended_why  TEXT,
    client     TEXT,
    epoch      INTEGER,
    -- Hashes of the session's secrets; nothing that could be presented.
    authority  BLOB,
    -- Last, because it alone can be long: a walk over the rows never reads it.
    data       TEXT,
    CHECK ((ended_ms IS NULL) = (ended_why IS NULL)),
    CHECK (ended_ms IS NULL OR coalesce(subject, client, epoch, authority, data) IS NULL)
) STRICT;

CREATE INDEX session_by_subject ON session (subject, id_bytes) WHERE subject IS NOT NULL;

-- The last revocation of each subject, for logins that were in progress meanwhile.
CREATE TABLE revocation (
    subject    TEXT    NOT NULL PRIMARY KEY,
    at_ms      INTEGER NOT NULL,
    except_id  TEXT,
    why        TEXT    NOT NULL,
    version    INTEGER NOT NULL,
    kept_to_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX revocation_by_time ON revocation (at_ms);

-- started_before_ms: sessions that started before this instant have ended, whatever their row says.
CREATE TABLE setting (
    name  TEXT    NOT NULL PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO setting (name, value) VALUES ('started_before_ms', 0);

-- For people: SELECT * FROM sessions;
CREATE VIEW sessions AS
SELECT
    id,
    CASE
        WHEN ended_ms IS NOT NULL THEN 'ended'
        WHEN started_ms < (SELECT value FROM setting WHERE name = 'started_before_ms') THEN 'revoked'
        WHEN expires_ms <= 1000 * CAST(strftime('%s', 'now') AS INTEGER) THEN 'expired'
        ELSE 'alive'
    END AS state,
    subject,
    client,
    strftime('%Y-%m-%dT%H:%M:%fZ', created_ms / 1000.0, 'unixepoch') AS created,
    strftime('%Y-%m-%dT%H:%M:%fZ', started_ms / 1000.0, 'unixepoch') AS started,
    strftime('%Y-%m-%dT%H:%M:%fZ', active_ms / 1000.0, 'unixepoch') AS active,
    strftime('%Y-%m-%dT%H:%M:%fZ', expires_ms / 1000.0, 'unixepoch') AS expires,
    strftime('%Y-%m-%dT%H:%M:%fZ', ended_ms / 1000.0, 'unixepoch') AS ended,
    ended_why,
    data
FROM session;
