-- KEYS: index. ARGV: age in ms, entries. Removes those of them that are older, and haven't been written anew since they
-- were read.
local before = clock() - tonumber(ARGV[1])
local removed = 0
for i = 2, #ARGV do
  if number(ARGV[i]:sub(17, 24)) <= before then
    removed = removed + redis.call('ZREM', KEYS[1], ARGV[i])
  end
end
return removed
