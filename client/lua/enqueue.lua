-- enqueue: puts jobs into a queue, each id once.
--
-- KEYS[1]        lanes: zset, lane → Unix ms when it deserves a look
-- KEYS[3i - 1]   job i: string, the job as JSON
-- KEYS[3i]       result i: string, the result as JSON
-- KEYS[3i + 1]   in progress i: string, there while job i runs, which may be longer than its job key
-- ARGV[1]        lane of all of them: zset, job id → Unix ms when due
-- ARGV[2]        channel that wakes workers
-- ARGV[4i - 1]   id of job i
-- ARGV[4i]       payload of job i, JSON
-- ARGV[4i + 1]   wait before job i is due, ms; below 0 is a head start
-- ARGV[4i + 2]   life of job i from now on, ms: it is not started, nor tried again, after that
--
-- Returns a list: 1 where the job is new, 0 where the id is queued, running or has its result.

local lanes, lane, wake = KEYS[1], ARGV[1], ARGV[2]
local count = (#ARGV - 2) / 4
if count ~= (#KEYS - 1) / 3 or count < 1 then
  return redis.error_reply('enqueue: one key and two arguments, then three keys and four arguments for each job')
end

local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)

local added, look_ms = {}, nil
for i = 1, count do
  local job, result, in_progress = KEYS[3 * i - 1], KEYS[3 * i], KEYS[3 * i + 1]
  local id, payload = ARGV[4 * i - 1], ARGV[4 * i]
  local wait_ms, life_ms = tonumber(ARGV[4 * i + 1]), tonumber(ARGV[4 * i + 2])
  if redis.call('EXISTS', job, result, in_progress) > 0 then
    added[i] = 0
  else
    redis.call('SET', job, payload, 'PX', life_ms)
    redis.call('ZADD', lane, now_ms + wait_ms, id)
    look_ms = math.min(look_ms or math.huge, now_ms + math.max(0, wait_ms))
    added[i] = 1
  end
end
if look_ms then
  redis.call('ZADD', lanes, 'LT', look_ms, lane)
  redis.call('PUBLISH', wake, '')
end
return added
