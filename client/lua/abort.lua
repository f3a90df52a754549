-- abort: ends a job that has not started, or asks the worker that runs it to cancel it.
--
-- KEYS[1]   job: string, the job as JSON
-- KEYS[2]   in progress: string, there while the job runs
-- KEYS[3]   queue: zset, job id → Unix ms when due
-- KEYS[4]   aborts: zset, job id → Unix ms of the request; workers read it
-- KEYS[5]   result: string, the result as JSON
-- ARGV[1]   job id
-- ARGV[2]   the result of an aborted job, JSON
-- ARGV[3]   life of that result, ms
-- ARGV[4]   channel that tells of the result
-- ARGV[5]   channel that tells workers which job to cancel
--
-- Returns 'ended' (it will never start), 'asked' (its worker will cancel it) or 'absent' (finished
-- or unknown: nothing is written, so that a later job of the same id is not hit).

local job, in_progress, queue, aborts, result = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local id, aborted, life_ms, channel, workers = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5]

if #KEYS ~= 5 or #ARGV ~= 5 then
  return redis.error_reply('abort: five keys and five arguments')
end
if redis.call('EXISTS', in_progress) == 1 then
  local time = redis.call('TIME')
  redis.call('ZADD', aborts, time[1] * 1000 + math.floor(time[2] / 1000), id)
  redis.call('PUBLISH', workers, id)
  return 'asked'
end
if redis.call('EXISTS', job) == 0 then
  return 'absent'
end
redis.call('ZREM', queue, id)
redis.call('DEL', job)
redis.call('SET', result, aborted, 'PX', life_ms)
redis.call('PUBLISH', channel, '')
return 'ended'
