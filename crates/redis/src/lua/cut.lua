-- KEYS: what shards keep in common, one or more. ARGV: instant, TTL in ms of those that hold no session yet
for _, key in ipairs(KEYS) do
  local old = redis.call('GET', key)
  if not old then
    redis.call('SET', key, ARGV[1], 'PX', ARGV[2])
  elseif less(old, ARGV[1]) then
    redis.call('SET', key, ARGV[1], 'KEEPTTL')
  end
end
return 'S'
