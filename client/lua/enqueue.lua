-- enqueue: puts jobs into a queue, each id once.
--
-- KEYS[1]        queue: zset, job id → Unix ms when due
-- KEYS[2i]       job i: string, the job as JSON
-- KEYS[2i + 1]   result i: string, the result as JSON
-- ARGV[4i - 3]   id of job i
-- ARGV[4i - 2]   payload of job i, JSON
-- ARGV[4i - 1]   wait before job i is due, ms
-- ARGV[4i]       life of job i from now on, ms: it is not started, nor tried again, after that
--
-- Returns a list: 1 where the job is new, 0 where the id is queued, running or has its result.

local queue = KEYS[1]
local count = #ARGV / 4
if count ~= (#KEYS - 1) / 2 or count < 1 then
  return redis.error_reply('enqueue: two keys and four arguments for each job')
end

local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)

local added = {}
for i = 1, count do
  local job, result = KEYS[2 * i], KEYS[2 * i + 1]
  local id, payload = ARGV[4 * i - 3], ARGV[4 * i - 2]
  local wait_ms, life_ms = tonumber(ARGV[4 * i - 1]), tonumber(ARGV[4 * i])
  if redis.call('EXISTS', job, result) > 0 then
    added[i] = 0
  else
    redis.call('SET', job, payload, 'PX', life_ms)
    redis.call('ZADD', queue, now_ms + wait_ms, id)
    added[i] = 1
  end
end
return added
