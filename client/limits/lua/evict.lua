-- evict: takes slots from their holders, who are told at their next renewal.
-- KEYS[1] zset    slots: holder → Unix ms its lease ends
-- KEYS[2] zset    who waits for the limit key
-- KEYS[3] zset    gates: limit key → Unix ms, look
-- ARGV[1] limit key  ARGV[2] holder, '' for all  ARGV[3] channel that wakes workers
-- Returns how many holders had a slot.
local slots, blocked, gates = KEYS[1], KEYS[2], KEYS[3]
local key, holder, channel = ARGV[1], ARGV[2], ARGV[3]

if #KEYS ~= 3 or #ARGV ~= 3 or key == '' then
  return redis.error_reply('evict: three keys and three arguments, the first not empty')
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local gone = 0  -- at 0 a slot counts no more, and its holder learns of it; one that has lapsed is nobody's
local holders = holder ~= '' and { holder } or redis.call('ZRANGEBYSCORE', slots, '(' .. now, '+inf')
for _, one in ipairs(holders) do gone = gone + redis.call('ZADD', slots, 'XX', 'CH', 0, one) end
if redis.call('EXISTS', blocked) == 1 then redis.call('ZADD', gates, now, key) end
redis.call('PUBLISH', channel, '')
return gone
