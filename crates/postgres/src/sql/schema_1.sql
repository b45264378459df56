-- Step 1 of the schema. Later steps are files of their own: a step that was released is never edited, and a step only
-- adds, because processes of the version before may be at work. A step is made in one transaction.

CREATE TABLE cloakroom_migration (
    version integer NOT NULL PRIMARY KEY
);

-- One row a session, and one for what is left of a session that ended: so one uniqueness rule keeps ids from being
-- used twice. Times are milliseconds since 1970. A touch changes active_ms, and with it expires_ms, which no index has;
-- and there is room left on each page: so a touch writes one row next to the old one (HOT) and no index at all.
-- Sweeping walks the pages instead of following an index that nearly every request would move.
CREATE TABLE cloakroom_session (
    -- The same sixteen bytes as the public id, which the view shows as people know it.
    id         uuid    NOT NULL PRIMARY KEY,
    version    bigint  NOT NULL,
    created_ms bigint  NOT NULL,
    started_ms bigint  NOT NULL,
    active_ms  bigint  NOT NULL,
    -- The absolute end; where ended_ms is set, until when this row is kept.
    end_ms     bigint  NOT NULL,
    idle_s     bigint  NOT NULL,
    expires_ms bigint  NOT NULL GENERATED ALWAYS AS (
        CASE WHEN ended_ms IS NULL THEN least(active_ms + 1000 * idle_s, end_ms) ELSE end_ms END
    ) STORED,
    ended_ms   bigint,
    epoch      bigint,
    -- By bytes: names that differ in case, accents or trailing blanks are different names.
    subject    text COLLATE "C",
    ended_why  text,
    client     text,
    -- Hashes of the session's secrets; nothing that could be presented.
    authority  bytea,
    -- Not jsonb, which knows no U+0000 and forgets how numbers were written: what is stored comes back byte for byte.
    data       json
) WITH (
    fillfactor = 70,
    -- A table of sessions changes all the time: the usual fifth of it is too much to wait for.
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_analyze_scale_factor = 0.05
);

CREATE INDEX cloakroom_session_by_subject ON cloakroom_session (subject, id) WHERE subject IS NOT NULL;

-- The last revocation of each subject, for logins that were in progress meanwhile.
CREATE TABLE cloakroom_revocation (
    subject    text COLLATE "C" NOT NULL PRIMARY KEY,
    at_ms      bigint NOT NULL,
    except_id  uuid,
    why        text   NOT NULL,
    version    bigint NOT NULL,
    kept_to_ms bigint NOT NULL
);

CREATE INDEX cloakroom_revocation_by_time ON cloakroom_revocation (at_ms);

-- One row. Sessions that started before this instant have ended, whatever their row says.
CREATE TABLE cloakroom_setting (
    id                smallint NOT NULL PRIMARY KEY CHECK (id = 1),
    started_before_ms bigint   NOT NULL
);

INSERT INTO cloakroom_setting (id, started_before_ms) VALUES (1, 0);

-- For people: SELECT * FROM cloakroom_sessions;
CREATE VIEW cloakroom_sessions AS
SELECT
    translate(rtrim(encode(uuid_send(id), 'base64'), '='), '+/', '-_') AS id,
    CASE
        WHEN ended_ms IS NOT NULL THEN 'ended'
        WHEN started_ms < (SELECT started_before_ms FROM cloakroom_setting WHERE id = 1) THEN 'revoked'
        WHEN expires_ms <= 1000 * extract(epoch FROM now()) THEN 'expired'
        ELSE 'alive'
    END AS state,
    subject,
    client,
    to_timestamp(created_ms / 1000.0) AS created,
    to_timestamp(started_ms / 1000.0) AS started,
    to_timestamp(active_ms / 1000.0) AS active,
    to_timestamp(expires_ms / 1000.0) AS expires,
    to_timestamp(ended_ms / 1000.0) AS ended,
    ended_why,
    data
FROM cloakroom_session;

INSERT INTO cloakroom_migration (version) VALUES (1);
