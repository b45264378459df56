-- Step 1 of the schema. Later steps are files of their own: a step that was released is never edited, and a step only
-- adds, because processes of the version before may be at work.

-- Which steps were made. The last statement of each step notes it, so that one that was broken off is made again; each
-- of its statements can be.
CREATE TABLE IF NOT EXISTS cloakroom_migration (
    version INT UNSIGNED NOT NULL PRIMARY KEY
) ENGINE = InnoDB;

-- One row a session, and one for what is left of a session that ended: so one uniqueness rule keeps ids from being
-- used twice. Times are milliseconds since 1970. A touch changes active_ms alone, which no index has; sweeping walks
-- the rows in the order of their ids instead of following an index that nearly every request would move.
CREATE TABLE IF NOT EXISTS cloakroom_session (
    id         BINARY(16)   NOT NULL PRIMARY KEY,
    version    BIGINT       NOT NULL,
    -- Binary: names that differ in case, accents or trailing blanks are different names.
    subject    VARBINARY(255),
    created_ms BIGINT       NOT NULL,
    started_ms BIGINT       NOT NULL,
    active_ms  BIGINT       NOT NULL,
    -- The absolute end; where ended_ms is set, until when this row is kept.
    end_ms     BIGINT       NOT NULL,
    idle_s     BIGINT       NOT NULL,
    ended_ms   BIGINT,
    ended_why  VARCHAR(20) CHARACTER SET ascii,
    client     TEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin,
    epoch      BIGINT,
    -- Hashes of the session's secrets; nothing that could be presented.
    authority  BLOB,
    -- Text and not JSON: what is stored comes back byte for byte.
    data       LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin,
    expires_ms BIGINT AS (IF(ended_ms IS NULL, LEAST(active_ms + 1000 * idle_s, end_ms), end_ms)) VIRTUAL,
    INDEX cloakroom_session_by_subject (subject, id)
) ENGINE = InnoDB;

-- The last revocation of each subject, for logins that were in progress meanwhile.
CREATE TABLE IF NOT EXISTS cloakroom_revocation (
    subject    VARBINARY(255) NOT NULL PRIMARY KEY,
    at_ms      BIGINT         NOT NULL,
    except_id  BINARY(16),
    why        VARCHAR(20) CHARACTER SET ascii NOT NULL,
    version    BIGINT         NOT NULL,
    kept_to_ms BIGINT         NOT NULL,
    INDEX cloakroom_revocation_by_time (at_ms)
) ENGINE = InnoDB;

-- One row. Sessions that started before this instant have ended, whatever their row says.
CREATE TABLE IF NOT EXISTS cloakroom_setting (
    id                TINYINT NOT NULL PRIMARY KEY,
    started_before_ms BIGINT  NOT NULL
) ENGINE = InnoDB;

INSERT IGNORE INTO cloakroom_setting (id, started_before_ms) VALUES (1, 0);

-- For people: SELECT * FROM cloakroom_sessions;
CREATE OR REPLACE SQL SECURITY INVOKER VIEW cloakroom_sessions AS
SELECT
    REPLACE(REPLACE(TRIM(TRAILING '=' FROM TO_BASE64(id)), '+', '-'), '/', '_') AS id,
    CASE
        WHEN ended_ms IS NOT NULL THEN 'ended'
        WHEN started_ms < (SELECT started_before_ms FROM cloakroom_setting WHERE id = 1) THEN 'revoked'
        WHEN expires_ms <= 1000 * UNIX_TIMESTAMP() THEN 'expired'
        ELSE 'alive'
    END AS state,
    CONVERT(subject USING utf8mb4) AS subject,
    client,
    FROM_UNIXTIME(created_ms / 1000) AS created,
    FROM_UNIXTIME(started_ms / 1000) AS started,
    FROM_UNIXTIME(active_ms / 1000) AS active,
    FROM_UNIXTIME(expires_ms / 1000) AS expires,
    FROM_UNIXTIME(ended_ms / 1000) AS ended,
    ended_why,
    data
FROM cloakroom_session;

INSERT IGNORE INTO cloakroom_migration (version) VALUES (1);
