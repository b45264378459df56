-- Writes an index entry: the id, and by the engine's clock when it was written and when it is garbage. All scores are
-- equal, so the set is ordered by id. Entries next to it that are garbage go: a subject who never lists sessions has no
-- more than a few.
local function enter(index, id, life_ms)
  local now, life = clock(), tonumber(life_ms)
  local gone = now + life
  for _, entry in ipairs(redis.call('ZRANGEBYLEX', index, '[' .. id, '+', 'LIMIT', 0, 9)) do
    local its_gone = number(entry:sub(25, 32))
    if entry:sub(1, 16) == id then
      gone = math.max(gone, its_gone)
      redis.call('ZREM', index, entry)
    elseif its_gone < now then
      redis.call('ZREM', index, entry)
    end
  end
  redis.call('ZADD', index, 0, id .. bytes(now) .. bytes(gone))
  if redis.call('PTTL', index) < gone - now then
    redis.call('PEXPIRE', index, gone - now)
  end
  return now
end
