-- enqueue: puts jobs into a queue, each id once.
--
-- KEYS[1]        queue: zset, job id → Unix ms when due
-- KEYS[3i - 1]   job i: string, the job as JSON
-- KEYS[3i]       result i: string, the result as JSON
-- KEYS[3i + 1]   in progress i: string, there while job i runs, which may be longer than its job key
-- ARGV[4i - 3]   id of job i
-- ARGV[4i - 2]   payload of job i, JSON
-- ARGV[4i - 1]   wait before job i is due, ms
-- ARGV[4i]       life of job i from now on, ms: it is not started, nor tried again, after that
--
-- Returns a list: 1 where the job is new, 0 where the id is queued, running or has its result.

local queue = KEYS[1]
local count = #ARGV / 4
if count ~= (#KEYS - 1) / 3 or count < 1 then
  return redis.error_reply('enqueue: a queue, then three keys and four arguments for each job')
end

local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)

local added = {}
for i = 1, count do
  local job, result, in_progress = KEYS[3 * i - 1], KEYS[3 * i], KEYS[3 * i + 1]
  local id, payload = ARGV[4 * i - 3], ARGV[4 * i - 2]
  local wait_ms, life_ms = tonumber(ARGV[4 * i - 1]), tonumber(ARGV[4 * i])
  if redis.call('EXISTS', job, result, in_progress) > 0 then
    added[i] = 0
  else
    redis.call('SET', job, payload, 'PX', life_ms)
    redis.call('ZADD', queue, now_ms + wait_ms, id)
    added[i] = 1
  end
end
return added
