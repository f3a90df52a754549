-- seed: puts the limits of the settings in force, those that have changed since they were last put.
-- KEYS[1] hash    limits: limit key or pattern 'prefix:*' → Limit, JSON
-- KEYS[2] hash    the same, as last seeded
-- KEYS[3] zset    gates: limit key → Unix ms, look
-- ARGV[1] prefix of the queues of who waits  ARGV[2] channel that wakes workers
-- ARGV[3…] limit key or pattern, Limit JSON: of every limit in the settings
-- Returns the limit keys and patterns that were changed. A run-time change of one that is as before stays.
local limits, seeded, gates, blocked, channel = KEYS[1], KEYS[2], KEYS[3], ARGV[1], ARGV[2]

if #KEYS ~= 3 or #ARGV < 2 or #ARGV % 2 ~= 0 then
  return redis.error_reply('seed: three keys, two arguments, and two of every limit')
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local wanted, changed = {}, {}

for i = 3, #ARGV, 2 do
  local key, text = ARGV[i], ARGV[i + 1]
  wanted[key] = true
  if redis.call('HGET', seeded, key) ~= text then
    redis.call('HSET', limits, key, text)
    redis.call('HSET', seeded, key, text)
    changed[#changed + 1] = key
  end
end
for _, key in ipairs(redis.call('HKEYS', seeded)) do
  if not wanted[key] then
    if redis.call('HGET', limits, key) == redis.call('HGET', seeded, key) then
      redis.call('HDEL', limits, key)
      changed[#changed + 1] = key
    end
    redis.call('HDEL', seeded, key)
  end
end
local waited = #changed > 0 and redis.call('ZRANGE', gates, 0, -1) or {}
for _, key in ipairs(changed) do  -- whoever waits for it is looked at again
  local prefix = string.sub(key, -1) == '*' and string.sub(key, 1, -2)
  for _, name in ipairs(prefix and waited or {}) do
    if string.sub(name, 1, #prefix) == prefix then redis.call('ZADD', gates, now, name) end
  end
  if redis.call('EXISTS', blocked .. key) == 1 then redis.call('ZADD', gates, now, key) end
end
if #changed > 0 then redis.call('PUBLISH', channel, '') end
return changed
