-- KEYS: session, shard, and where the index is on this node, index.
-- ARGV: value, TTL in ms, life in ms, id, not after, expected version, now
local old, new = alive(ARGV[7]), ARGV[1]
if not old then return 'G' end
if version(old) ~= ARGV[6] then return 'C' end
local is_longer = less(absolute_end(old), absolute_end(new))
if subject(new) ~= '' and (is_longer or subject(old) ~= subject(new)) then
  if KEYS[3] then
    enter(KEYS[3], ARGV[4], ARGV[3])
  elseif ARGV[5] == '' then
    return 'I'
  end
end
if is_late(ARGV[5]) then return 'L' end
if is_longer then outlive(ARGV[3], ARGV[1]) end
redis.call('SET', KEYS[1], new, 'PX', ARGV[2])
return 'S'
