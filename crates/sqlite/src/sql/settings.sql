-- What a connection that writes is set to.
-- Each commit is on disk before it is answered; also where fsync alone doesn't see to that (macOS).
PRAGMA synchronous = FULL;
PRAGMA fullfsync = ON;
PRAGMA checkpoint_fullfsync = ON;
-- What a session held is overwritten when it is gone: in the file at the next checkpoint, and in the log, which keeps
-- older pages, when its place there is used again.
PRAGMA secure_delete = ON;
-- The log is merged into the file each time it has grown by so many pages, 16 MiB: as many as one part of its index
-- holds, so that readers look into one. It is cut if it was longer.
PRAGMA wal_autocheckpoint = 4000;
PRAGMA journal_size_limit = 67108864;
-- Views and triggers that somebody else added call no functions with side effects.
PRAGMA trusted_schema = OFF;
