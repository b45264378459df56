#!lua flags=allow-oom
-- KEYS: a string and a sorted set that nobody uses. Tries each command that the other scripts call, and answers which of
-- them the user may not run.
local refused = {}
local function try(name, ...)
  local answer = redis.pcall(name, ...)
  if type(answer) == 'table' and answer.err then table.insert(refused, name) end
end
-- Both begin to expire before anything is tried that may leave them behind.
try('SET', KEYS[1], ('\0'):rep(8), 'PX', 1000)
try('PEXPIRE', KEYS[1], 1000, 'GT')
if #refused == 0 then
  try('SETRANGE', KEYS[1], 0, 'x')
  try('ZADD', KEYS[2], 0, 'x')
  redis.pcall('PEXPIRE', KEYS[2], 1000)
  try('ZREM', KEYS[2], 'x')
end
try('GET', KEYS[1])
try('GETRANGE', KEYS[1], 0, 7)
try('EXISTS', KEYS[1])
try('PTTL', KEYS[1])
try('ZRANGEBYLEX', KEYS[2], '-', '+', 'LIMIT', 0, 1)
try('TIME')
return refused
