-- look: what has become of these jobs, at one moment.
--
-- KEYS[1]        queue: zset, job id → Unix ms when due
-- KEYS[3i - 1]   result i: string, the result as JSON
-- KEYS[3i]       job i: string, the job as JSON
-- KEYS[3i + 1]   in progress i: string, there while job i runs
-- ARGV[i]        id of job i
--
-- Returns a list: the result where there is one, 1 where the job waits or runs, 2 where its deadline
-- has passed and no worker has said so yet, 0 where nothing is known.

local queue = KEYS[1]
if #ARGV == 0 or #KEYS ~= 3 * #ARGV + 1 then
  return redis.error_reply('look: a queue, then three keys and one argument for each job')
end

local WAITS_OR_RUNS, EXPIRED, UNKNOWN = 1, 2, 0

local seen = {}
for i = 1, #ARGV do
  local result, job, in_progress = KEYS[3 * i - 1], KEYS[3 * i], KEYS[3 * i + 1]
  seen[i] = redis.call('GET', result)
  if not seen[i] then
    if redis.call('EXISTS', job, in_progress) > 0 then
      seen[i] = WAITS_OR_RUNS
    elseif redis.call('ZSCORE', queue, ARGV[i]) then
      seen[i] = EXPIRED
    else
      seen[i] = UNKNOWN
    end
  end
end
return seen
