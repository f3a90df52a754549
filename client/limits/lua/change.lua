-- change: replaces a limit that is still as its reader saw it.
-- KEYS[1] hash    limits: limit key or pattern 'prefix:*' → Limit, JSON
-- KEYS[2] zset    gates: limit key → Unix ms, look
-- KEYS[3] hash    the key's rates and congestion
-- ARGV[1] limit key or pattern  ARGV[2] JSON as it was read, '' for none  ARGV[3] JSON to be, '' for none
-- ARGV[4] 1 to end the key's cooldown  ARGV[5] prefix of the queues of who waits  ARGV[6] channel that wakes workers
-- Returns 1, or 0 where somebody else has changed it meanwhile and nothing was written.
local limits, gates, flow = KEYS[1], KEYS[2], KEYS[3]
local key, old, new, warm, blocked, channel = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]

if #KEYS ~= 3 or #ARGV ~= 6 or key == '' then
  return redis.error_reply('change: three keys and six arguments, the first not empty')
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if (redis.call('HGET', limits, key) or '') ~= old then return 0 end
if new == '' then redis.call('HDEL', limits, key) else redis.call('HSET', limits, key, new) end
if warm == '1' then redis.call('HDEL', flow, 'cool_ms', 'cool_n') end

if string.sub(key, -1) == '*' then  -- whoever waits for it is looked at again
  local prefix = string.sub(key, 1, -2)
  for _, waited in ipairs(redis.call('ZRANGE', gates, 0, -1)) do
    if string.sub(waited, 1, #prefix) == prefix then redis.call('ZADD', gates, now, waited) end
  end
elseif redis.call('EXISTS', blocked .. key) == 1 then
  redis.call('ZADD', gates, now, key)
end
redis.call('PUBLISH', channel, '')
return 1
