-- What every script on a session shares. KEYS[1] is the session, KEYS[2] what its shard keeps in common.
--
-- Times and versions are 8 bytes, the most significant first. They are compared as two numbers of 32 bits: one of 64
-- would be rounded, and Lua compares strings by the server's locale.

local function less(a, b)
  local a_high, a_low = struct.unpack('>I4I4', a)
  local b_high, b_low = struct.unpack('>I4I4', b)
  return a_high < b_high or (a_high == b_high and a_low < b_low)
end

local function bytes(number)
  return struct.pack('>I4I4', math.floor(number / 4294967296), number % 4294967296)
end

local function number(time)
  local high, low = struct.unpack('>I4I4', time)
  return high * 4294967296 + low
end

-- The engine's own clock, in milliseconds. It decides about garbage and nothing else.
local function clock()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- A session: kind, version, active, end, started, idle timeout in seconds, length of the subject, subject; the rest isn't
-- read here. So much of it is enough:
local function read()
  return redis.call('GETRANGE', KEYS[1], 0, 292)
end

local function version(value) return value:sub(2, 9) end
local function active(value) return value:sub(10, 17) end
local function absolute_end(value) return value:sub(18, 25) end
local function started(value) return value:sub(26, 33) end
local function subject(value) return value:sub(39, 38 + value:byte(38)) end

-- Saturates, as times do.
local function idle_end(value, since)
  local high, low = struct.unpack('>I4I4', since)
  low = low + struct.unpack('>I4', value:sub(34, 37)) * 1000
  high = high + math.floor(low / 4294967296)
  if high > 4294967295 then return ('\255'):rep(8) end
  return struct.pack('>I4I4', high, low % 4294967296)
end

-- Nil: there is no living session. Anything but a session or a tombstone is an error.
local function alive(now)
  local value = read()
  local kind = value:sub(1, 1)
  if kind == '' or kind == 'T' then return nil end
  if kind ~= 'R' or #value < 38 then error('CORRUPT') end
  -- Where it is missing the engine has thrown it away, and what it had ended must not come back.
  local watermark = redis.call('GET', KEYS[2])
  if not watermark or less(started(value), watermark) then return nil end
  if less(now, absolute_end(value)) and less(now, idle_end(value, active(value))) then return value end
  return nil
end

-- What a shard keeps in common must outlive every session in it. A quarter more than needed, so that it is seldom written.
-- A shard begins with this session: what may have been in it before, and was thrown away in part, stays gone. A minute is
-- more than clocks of callers differ.
local function outlive(life_ms, new)
  local life = tonumber(life_ms)
  local left = redis.call('PTTL', KEYS[2])
  if left == -2 then
    local since = bytes(math.max(number(started(new)) - 60000, 0))
    redis.call('SET', KEYS[2], since, 'PX', math.floor(life * 1.25))
  elseif left < life then
    redis.call('PEXPIRE', KEYS[2], math.floor(life * 1.25))
  end
end

-- A change that comes so late that its index entry may have been healed away since isn't made.
local function is_late(not_after)
  return not_after ~= '' and less(not_after, bytes(clock()))
end
