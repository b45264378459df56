-- KEYS: index. ARGV: id, life in ms, how long the entry is good for in ms.
-- Answers until when, by the engine's clock, the session may be written that the entry is for.
return bytes(enter(KEYS[1], ARGV[1], ARGV[2]) + tonumber(ARGV[3]))
