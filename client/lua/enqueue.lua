-- enqueue: puts jobs into their lanes, each id once.
--
-- KEYS[1]        lanes: zset, lane → Unix ms when it deserves a look; the same for all of these lanes
-- KEYS[3i - 1]   job i: string, the job as JSON
-- KEYS[3i]       result i: string, the result as JSON
-- KEYS[3i + 1]   in progress i: string, there while job i runs, which may be longer than its job key
-- ARGV[1]        channel that wakes workers
-- ARGV[2]        prefix of streams: a new job is not to show the stream of an old one of its id
-- ARGV[5i - 2]   id of job i
-- ARGV[5i - 1]   payload of job i, JSON
-- ARGV[5i]       wait before job i is due, ms; below 0 is a head start
-- ARGV[5i + 1]   life of job i from now on, ms: it is not started, nor tried again, after that
-- ARGV[5i + 2]   lane of job i: zset, job id → Unix ms when due
--
-- Returns a list: 1 where the job is new, 0 where the id is queued, running or has its result.

local lanes, wake, streams = KEYS[1], ARGV[1], ARGV[2]
local count = (#ARGV - 2) / 5
if count ~= (#KEYS - 1) / 3 or count < 1 then
  return redis.error_reply('enqueue: one key and two arguments, then three keys and five arguments for each job')
end

local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)

local added, look_ms = {}, {}
for i = 1, count do
  local job, result, in_progress = KEYS[3 * i - 1], KEYS[3 * i], KEYS[3 * i + 1]
  local id, payload, lane = ARGV[5 * i - 2], ARGV[5 * i - 1], ARGV[5 * i + 2]
  local wait_ms, life_ms = tonumber(ARGV[5 * i]), tonumber(ARGV[5 * i + 1])
  if redis.call('EXISTS', job, result, in_progress) > 0 then
    added[i] = 0
  else
    redis.call('SET', job, payload, 'PX', life_ms)  -- first: after another write a full server takes it
    redis.call('DEL', streams .. id)
    redis.call('ZADD', lane, now_ms + wait_ms, id)
    look_ms[lane] = math.min(look_ms[lane] or math.huge, now_ms + math.max(0, wait_ms))
    added[i] = 1
  end
end
for lane, ms in pairs(look_ms) do redis.call('ZADD', lanes, 'LT', ms, lane) end
if next(look_ms) then redis.call('PUBLISH', wake, '') end
return added
