-- claim: takes jobs that are due, lane after lane, and leases them to one worker.
--
-- KEYS[1]   lanes: zset, lane → Unix ms when it deserves a look
-- KEYS[2]   the worker's own queue: a lane that plain arq clients fill without telling KEYS[1]
-- KEYS[3]   aborts: zset, job id → Unix ms of the request
-- ARGV[1]   jobs wanted at most
-- ARGV[2]   lease, ms: a job not renewed for so long is due again
-- ARGV[3]   hold, ms: longer than any job runs; how long a crash can be told from a first start
-- ARGV[4]   worker's name; with the time it makes the fencing token, 'mill:{µs}:{name}'
-- ARGV[5]   prefixes of the keys of a job: in progress, job, retry, result, crashes
--   …[9]
--
-- A lane is a zset, job id → Unix ms when the job is somebody's business: when it is due, or, while it
-- runs, when its lease ends. So a job whose worker died is simply due again, and its 'in progress' key
-- still holds that worker's token: that is a crash. A token of another kind is a stock arq worker's,
-- which runs the job: it is left alone. 'ended' holds back the id of a cron job that has run: it is dropped.
--
-- Returns now (ms), the next moment to come back (ms, -1 for none known), 1 where more may be due at
-- once, the token, the ids in KEYS[3], and for each job: id, lane, its score, payload or false, tries
-- used (false where it never ran), crashes, abort ms or 0.

local lanes, own, aborts = KEYS[1], KEYS[2], KEYS[3]
local want, lease_ms, hold_ms = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local running, job, retry, result, crashes = ARGV[5], ARGV[6], ARGV[7], ARGV[8], ARGV[9]
local MAX_LANES = 64      -- looked at in one claim, so that a claim costs the same whatever waits
local MAX_TAKEN = 500     -- from one lane at once: three times as many keys fit into one call
local MAX_FOREIGN = 1000  -- jobs of stock arq workers passed over in one claim
local STEP = 50           -- read at once while passing over them
local CRASH_TTL_S = 86400
local ABORT_TTL_MS = 86400000

if #KEYS ~= 3 or #ARGV ~= 9 or not (want and lease_ms and hold_ms) or lease_ms <= 0 or hold_ms <= 0 then
  return redis.error_reply('claim: three keys and nine arguments, the lease and the hold above 0')
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local token = 'mill:' .. time[1] .. string.format('%06d', time[2]) .. ':' .. ARGV[4]
local asked = redis.call('ZREVRANGE', aborts, 0, 99)
if #asked > 0 then  -- arq's clients also ask for ids that nobody will ever run
  redis.call('ZREMRANGEBYSCORE', aborts, '-inf', now - ABORT_TTL_MS)
end
local taken, leases = {}, {}

local function crash(id, old_token)
  local count = redis.call('RPUSH', crashes .. id, now .. ' ' .. old_token)
  redis.call('EXPIRE', crashes .. id, CRASH_TTL_S)
  return count
end

local function take(lane, id, score, held, payload, tries)
  leases[#leases + 1] = now + lease_ms
  leases[#leases + 1] = id
  local abort = #asked > 0 and redis.call('ZSCORE', aborts, id) or 0
  -- arq's client makes what it aborts due at 1, running or not: then the lease has not lapsed, and
  -- the worker that runs it reads KEYS[3].
  if held and score == '1' and abort ~= 0 then return false end
  local crashed = held and crash(id, held) or 0
  redis.call('SET', running .. id, token, 'PX', hold_ms)
  taken[#taken + 1] = { id, lane, score, payload, tries, crashed, abort }
  return true
end

-- Takes up to `quota` jobs; returns how many.
local function serve(lane, quota)
  local got, skipped = 0, 0
  local due = redis.call('ZRANGEBYSCORE', lane, '-inf', now, 'WITHSCORES', 'LIMIT', 0, quota)
  while #due > 0 do
    local names = {}
    leases = {}
    for i = 1, #due, 2 do
      names[#names + 1] = running .. due[i]
      names[#names + 1] = job .. due[i]
      names[#names + 1] = retry .. due[i]
    end
    local found = redis.call('MGET', unpack(names))
    for i = 1, #due, 2 do
      if got >= quota then break end
      local id, at = due[i], (i - 1) / 2 * 3
      local held, payload, tries = found[at + 1], found[at + 2], found[at + 3]
      if held == 'ended' or not payload and redis.call('EXISTS', result .. id) == 1 then
        redis.call('ZREM', lane, id)  -- ended while it waited here
        if payload then redis.call('DEL', job .. id) end
      elseif held and string.sub(held, 1, 5) ~= 'mill:' then
        skipped = skipped + 1
      elseif take(lane, id, due[i + 1], held, payload, tries) then
        got = got + 1
      end
    end
    if #leases > 0 then redis.call('ZADD', lane, unpack(leases)) end
    if got >= quota or skipped >= MAX_FOREIGN then break end
    local step = math.max(quota - got, math.min(skipped, STEP))
    due = redis.call('ZRANGEBYSCORE', lane, '-inf', now, 'WITHSCORES', 'LIMIT', skipped, step)
  end
  return got
end

-- When the lane deserves its next look, now that it has been served.
local function reschedule(lane)
  local first = redis.call('ZRANGE', lane, 0, 0, 'WITHSCORES')
  if #first == 0 then
    redis.call('ZREM', lanes, lane)
  else
    redis.call('ZADD', lanes, math.max(now, tonumber(first[2])), lane)
  end
end

local head = redis.call('ZRANGE', own, 0, 0, 'WITHSCORES')
if #head > 0 then
  redis.call('ZADD', lanes, 'LT', math.max(now, tonumber(head[2])), own)
end
local turn = redis.call('ZRANGEBYSCORE', lanes, '-inf', now, 'LIMIT', 0, MAX_LANES)
local more_lanes = #turn == MAX_LANES
local visited = {}  -- the others keep their place in the queue of lanes
while want > 0 and #turn > 0 do
  local share, again = math.ceil(want / #turn), {}
  for _, lane in ipairs(turn) do
    if want <= 0 then break end
    local quota = math.min(share, want, MAX_TAKEN)
    local got = serve(lane, quota)
    visited[lane] = true
    want = want - got
    if got >= quota then again[#again + 1] = lane end
  end
  turn = again
end
for lane in pairs(visited) do reschedule(lane) end

local first = redis.call('ZRANGE', lanes, 0, 0, 'WITHSCORES')
local more = (more_lanes or want <= 0) and 1 or 0
return { now, #first > 0 and tonumber(first[2]) or -1, more, token, asked, taken }
