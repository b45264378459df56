-- KEYS: note of the subject's last revocation. ARGV: note, TTL in ms.
-- Of two revocations the later one stays, in whichever order they arrive: it means the sessions of both.
local old = redis.call('GETRANGE', KEYS[1], 0, 7)
if #old == 8 and less(ARGV[1]:sub(1, 8), old) then return 'S' end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 'S'
