-- KEYS: session, shard. ARGV: tombstone, TTL in ms, expected version or nothing, expected subject or nothing, now
local old = alive(ARGV[5])
if not old then
  -- Of a subject whose sessions all end, what has expired by this clock may be alive by another. With an absolute end of
  -- zero it has expired by all of them.
  local expired = read()
  if ARGV[4] ~= '' and expired:sub(1, 1) == 'R' and subject(expired) == ARGV[4] then
    redis.call('SETRANGE', KEYS[1], 17, ('\0'):rep(8))
  end
  return 'G'
end
if ARGV[3] ~= '' and version(old) ~= ARGV[3] then return 'C' end
if ARGV[4] ~= '' and subject(old) ~= ARGV[4] then return 'G' end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 'S'
