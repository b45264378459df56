-- As load.sql, for each of several. The server looks them up one by one: of a whole array it can't tell how long it will be,
-- and would plan anew each time, or read the whole table. Rows come in no order, and those that aren't there not at all.
SELECT version, subject, created_ms, started_ms, active_ms, end_ms, idle_s, ended_ms, ended_why, client, authority, data,
    (SELECT started_before_ms FROM cloakroom_setting WHERE id = 1), id
FROM unnest((SELECT $1)::uuid[]) AS wanted (wanted_id)
CROSS JOIN LATERAL (
    SELECT *
    FROM cloakroom_session
    WHERE id = wanted_id
        AND expires_ms > $2
    OFFSET 0
) AS session
