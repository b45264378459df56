-- KEYS: session, shard, and unless its entry is written already, index.
-- ARGV: value, TTL in ms, life in ms, id, not after
if redis.call('EXISTS', KEYS[1]) == 1 then return 'C' end
if is_late(ARGV[5]) then return 'L' end
if KEYS[3] then enter(KEYS[3], ARGV[4], ARGV[3]) end
outlive(ARGV[3], ARGV[1])
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 'S'
