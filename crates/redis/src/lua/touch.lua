-- KEYS: session, shard. ARGV: active, now, how long the key stays after its end in ms, TTL at most in ms
local old = alive(ARGV[2])
if not old then return 'G' end
if less(active(old), ARGV[1]) then
  redis.call('SETRANGE', KEYS[1], 9, ARGV[1])
  local expires = idle_end(old, ARGV[1])
  if less(absolute_end(old), expires) then expires = absolute_end(old) end
  local ttl = number(expires) - number(ARGV[2]) + tonumber(ARGV[3])
  redis.call('PEXPIRE', KEYS[1], math.min(ttl, tonumber(ARGV[4])), 'GT')
end
return 'S'
