-- look: what has become of these jobs, at one moment.
--
-- KEYS[1]      queue: zset, job id → Unix ms when due
-- KEYS[2]      lanes: zset, lane → Unix ms when it deserves a look; each is a zset as KEYS[1]
-- KEYS[3]      the same for the lanes of CPU jobs
-- KEYS[3i + 1] result i: string, the result as JSON
-- KEYS[3i + 2] job i: string, the job as JSON
-- KEYS[3i + 3] in progress i: string, there while job i runs
-- ARGV[i]      id of job i
--
-- Returns a list: the result where there is one, 1 where the job waits or runs, or may: ask again;
-- 2 where its deadline has passed and no worker has said so yet, 0 where nothing is known.

local queue, lanes, cpu_lanes = KEYS[1], KEYS[2], KEYS[3]
if #ARGV == 0 or #KEYS ~= 3 * #ARGV + 3 then
  return redis.error_reply('look: a queue and the lanes, then three keys and one argument for each job')
end

local WAITS_OR_RUNS, EXPIRED, UNKNOWN = 1, 2, 0
local MAX_LANES, scores_left = 1000, 20000  -- to look at for an id, and for all

local names
local function search(id)  -- where its payload is gone: is it still in some lane?
  if not names then
    names = redis.call('ZRANGE', lanes, 0, MAX_LANES - 1)
    for _, lane in ipairs(redis.call('ZRANGE', cpu_lanes, 0, MAX_LANES - 1)) do names[#names + 1] = lane end
    table.insert(names, 1, queue)
  end
  if scores_left < #names then return WAITS_OR_RUNS end
  for _, lane in ipairs(names) do
    scores_left = scores_left - 1
    if redis.call('ZSCORE', lane, id) then return EXPIRED end
  end
  return UNKNOWN
end

local seen = {}
for i = 1, #ARGV do
  local result, job, in_progress = KEYS[3 * i + 1], KEYS[3 * i + 2], KEYS[3 * i + 3]
  seen[i] = redis.call('GET', result)
  if not seen[i] then
    seen[i] = redis.call('EXISTS', job, in_progress) > 0 and WAITS_OR_RUNS or search(ARGV[i])
  end
end
return seen
