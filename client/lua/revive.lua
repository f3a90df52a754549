-- revive: puts dead letters back into their lanes, with all their tries.
--
-- KEYS[1]   dead letters: zset, job id → Unix ms of death
-- KEYS[2]   lanes: zset, lane → Unix ms when it deserves a look; KEYS[3] for those of CPU jobs
-- ARGV[1]   channel that wakes workers
-- ARGV[2]   prefixes of the keys of a job: dead letter, job, result, in progress
--   …[5]
-- ARGV[6]   life of a job from when it is due, ms
-- ARGV[7]   what the lanes of CPU jobs, with a '|' behind them, begin with; ARGV[8] prefix of streams
-- then, for each letter, two: id, wait before it is due in ms
--
-- Returns a list: 1 where the job is queued again, 0 where there is no such letter, or its job's
-- arguments are lost, or a new job has its id.

local dead, lanes, cpu_lanes, wake, cpu = KEYS[1], KEYS[2], KEYS[3], ARGV[1], ARGV[7]
local letter, job, result, running, life_ms = ARGV[2], ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[6])
if #KEYS ~= 3 or #ARGV < 10 or #ARGV % 2 == 1 then
  return redis.error_reply('revive: three keys, eight arguments and two for each letter')
end

local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)

local revived = {}
for at = 9, #ARGV, 2 do
  local id, due_ms = ARGV[at], now_ms + tonumber(ARGV[at + 1])
  local found = redis.call('HMGET', letter .. id, 'job', 'lane', 'result')
  local payload, lane, own_result = found[1], found[2], found[3]
  local newer = redis.call('EXISTS', job .. id, running .. id) > 0
  if not newer then
    local last_result = redis.call('GET', result .. id)
    newer = last_result and last_result ~= own_result
  end
  local possible = payload and payload ~= '' and not newer
  if possible then
    redis.call('SET', job .. id, payload, 'PX', due_ms - now_ms + life_ms)
    redis.call('DEL', result .. id, letter .. id, ARGV[8] .. id)
    redis.call('ZREM', dead, id)
    redis.call('ZADD', lane, due_ms, id)
    redis.call('ZADD', string.sub(lane .. '|', 1, #cpu) == cpu and cpu_lanes or lanes, 'LT', due_ms, lane)
  end
  revived[#revived + 1] = possible and 1 or 0
end
redis.call('PUBLISH', wake, '')
return revived
