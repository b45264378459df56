-- KEYS: session, shard. ARGV: tombstone, TTL in ms, expected version or nothing, expected subject or nothing, now
local old = alive(ARGV[5])
if not old then return 'G' end
if ARGV[3] ~= '' and version(old) ~= ARGV[3] then return 'C' end
if ARGV[4] ~= '' and subject(old) ~= ARGV[4] then return 'G' end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 'S'
