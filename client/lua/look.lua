-- look: what has become of these jobs, at one moment.
-- needs: clock, names
--
-- ARGV[1]  queue: zset, job id → Unix ms when due, as every lane is
-- then the jobs' ids
--
-- Returns a list: the result where there is one, 1 where the job waits or runs, or may: ask again;
-- 2 where its deadline has passed and no worker has said so yet, 0 where nothing is known.

if #ARGV < 2 then
  return redis.error_reply('look: a queue and an id at least')
end

local WAITS_OR_RUNS, EXPIRED, UNKNOWN = 1, 2, 0
local MAX_LANES, scores_left = 1000, 20000  -- to look at for an id, and for all

local names
local function search(id)  -- where its payload is gone: is it still in some lane?
  if not names then
    names = cmd('ZRANGE', KEY.lanes, 0, MAX_LANES - 1)
    for _, lane in ipairs(cmd('ZRANGE', KEY.cpu_lanes, 0, MAX_LANES - 1)) do names[#names + 1] = lane end
    table.insert(names, 1, ARGV[1])
  end
  if scores_left < #names then return WAITS_OR_RUNS end
  for _, lane in ipairs(names) do
    scores_left = scores_left - 1
    if is_lane(lane) and cmd('ZSCORE', lane, id) then return EXPIRED end
  end
  return UNKNOWN
end

local seen = {}
for i = 2, #ARGV do
  local id = ARGV[i]
  local found = cmd('GET', KEY.result .. id)
  if not found then
    local token = cmd('GET', KEY.in_progress .. id)
    if token and token ~= 'ended' or cmd('EXISTS', KEY.job .. id) == 1 then
      found = WAITS_OR_RUNS
    else
      found = token and UNKNOWN or search(id)  -- 'ended' holds back the id of a cron job that has run
    end
  end
  seen[#seen + 1] = found
end
return seen
