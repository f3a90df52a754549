-- claim: takes jobs that are due and have room under all their limits, lane after lane, and leases them.
-- Follows the scripts of client/limits/lua.
--
-- KEYS[1]   the worker's own queue: a lane that plain arq clients fill without telling KEY.lanes
-- KEYS[2]   aborts: zset, job id → Unix ms of the request
-- KEYS[3]   epoch: string, there as long as Redis keeps its data
-- ARGV[1]   jobs wanted at most
-- ARGV[2]   lease, ms: a job not renewed for so long is due again
-- ARGV[3]   hold, ms: longer than any job runs; how long a crash can be told from a first start
-- ARGV[4]   worker's name; with the time it makes the fencing token, 'mill:{µs}:{name}'
-- ARGV[5]   prefixes of the keys of a job: in progress, job, retry, result, crashes
--   …[9]
-- ARGV[10]  the epoch this worker knows, or ''
-- ARGV[11]  the models that the aliases @chat and @embed stand for
--   …[12]
--
-- A lane is a zset, job id → Unix ms when the job is somebody's business: when it is due, or, while it
-- runs, when its lease ends. So a job whose worker died is simply due again, and its 'in progress' key
-- still holds that worker's token: that is a crash. A token of another kind is a stock arq worker's,
-- which runs the job: it is left alone. 'ended' holds back the id of a cron job that has run: it is dropped.
--
-- Returns now (ms), the next moment to come back (ms, -1 for none known), 1 where more may be due at
-- once, the token, the ids in KEYS[2], the epoch, and for each job: id, lane, its score, payload or false,
-- tries used (false where it never ran), crashes, abort ms or 0, its limit keys ('\n' between them), the tokens
-- and the dollars reserved.

local own, aborts, epoch_key = KEYS[1], KEYS[2], KEYS[3]
local want, lease_ms, hold_ms = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local running, job, retry, result, crashes = ARGV[5], ARGV[6], ARGV[7], ARGV[8], ARGV[9]
local known_epoch, aliases = ARGV[10], { ['@chat'] = ARGV[11], ['@embed'] = ARGV[12] }
local lanes = lanes_of(own)
local MAX_LANES = 64      -- looked at in one claim, so that a claim costs the same whatever waits
local MAX_TAKEN = 500     -- from one lane at once: three times as many keys fit into one call
local MAX_FOREIGN = 1000  -- jobs of stock arq workers passed over in one claim
local MAX_GATES = 32      -- limit keys opened in one claim
local STEP = 50           -- read at once while passing over them
local CRASH_TTL_S = 86400
local ABORT_TTL_MS = 86400000
local EPOCH_TTL_MS = 7 * 86400000
local QUARANTINE_MS = 2000  -- after Redis lost its data, for every worker to cancel what ran under lost slots

if #KEYS ~= 3 or #ARGV ~= 12 or not (want and lease_ms and hold_ms) or lease_ms <= 0 or hold_ms <= 0 then
  return redis.error_reply('claim: three keys and twelve arguments, the lease and the hold above 0')
end

local token = 'mill:' .. time[1] .. string.format('%06d', time[2]) .. ':' .. ARGV[4]
local asked = redis.call('ZREVRANGE', aborts, 0, 99)
if #asked > 0 then  -- arq's clients also ask for ids that nobody will ever run
  redis.call('ZREMRANGEBYSCORE', aborts, '-inf', now - ABORT_TTL_MS)
end

-- '{name} {quarantine's end, ms}'
local epoch, quarantine_ms = string.match(redis.call('GET', epoch_key) or '', '^(%S+) (%S+)$')
if not epoch then epoch, quarantine_ms = string.format('%.0f', now_us), '0' end
if known_epoch ~= '' and known_epoch ~= epoch and quarantine_ms == '0' then
  quarantine_ms = text_of(now + QUARANTINE_MS)
end
redis.call('SET', epoch_key, epoch .. ' ' .. quarantine_ms, 'PX', EPOCH_TTL_MS)
if tonumber(quarantine_ms) > now then
  return { now, tonumber(quarantine_ms), 0, token, asked, epoch, {} }
end

local taken, leases = {}, {}

local function crash(id, old_token)
  local count = redis.call('RPUSH', crashes .. id, now .. ' ' .. old_token)
  redis.call('EXPIRE', crashes .. id, CRASH_TTL_S)
  return count
end

local function lease(lane, id, score, held, payload, tries, found, tokens, usd)
  leases[#leases + 1] = now + lease_ms
  leases[#leases + 1] = id
  local abort = #asked > 0 and redis.call('ZSCORE', aborts, id) or 0
  -- arq's client makes what it aborts due at 1, running or not: then the lease has not lapsed, and
  -- the worker that runs it reads KEYS[2].
  if held and score == '1' and abort ~= 0 then return false end
  local crashed = held and crash(id, held) or 0
  redis.call('SET', running .. id, token, 'PX', hold_ms)
  for _, s in ipairs(found) do take(s, id, now + lease_ms, tokens, usd) end
  taken[#taken + 1] = { id, lane, score, payload, tries, crashed, abort, found.names, tokens,
    usd and usd > 0 and text_of(usd) or '0' }
  return true
end

-- The key that has not the tokens or the dollars for a job, when to ask again, and the tokens it is short of.
local function first_short(metered, tokens, usd)
  for _, s in ipairs(metered) do
    local at, need = short_of(s, tokens, usd)
    if at then return s, at, need end
  end
end

-- Takes up to `quota` jobs; returns how many, and the limit key that stopped it, as first_short does.
local function serve(lane, since, quota, found)
  local got, skipped, asked_for = 0, 0, quota
  local due = redis.call('ZRANGEBYSCORE', lane, '-inf', now, 'WITHSCORES', 'LIMIT', 0, quota)
  while #due > 0 do
    local names = {}
    leases = {}
    for i = 1, #due, 2 do
      names[#names + 1] = running .. due[i]
      names[#names + 1] = job .. due[i]
      names[#names + 1] = retry .. due[i]
    end
    local read = redis.call('MGET', unpack(names))
    local shut, at, need
    for i = 1, #due, 2 do
      if got >= quota then break end
      local id, row = due[i], (i - 1) / 2 * 3
      local held, payload, tries = read[row + 1], read[row + 2], read[row + 3]
      if held == 'ended' or not payload and redis.call('EXISTS', result .. id) == 1 then
        redis.call('ZREM', lane, id)  -- ended while it waited here
        if payload then redis.call('DEL', job .. id) end
      elseif held and string.sub(held, 1, 5) ~= 'mill:' then
        skipped = skipped + 1
      else
        local tokens, usd = 0, 0
        if found.metered[1] and payload then
          local input, output = string.match(payload, '^{"n":(%d+),"m":(%-?%d+)')
          tokens, usd = estimate(found[1].model and found[1], tonumber(input), tonumber(output))
        end
        shut, at, need = first_short(found.metered, tokens, usd)
        if shut then break end
        if lease(lane, id, due[i + 1], held, payload, tries, found, tokens, usd) then got = got + 1 end
      end
    end
    if #leases > 0 then redis.call('ZADD', lane, unpack(leases)) end
    if shut then return got, shut, at, need end
    if got >= quota or #due < 2 * asked_for or skipped >= MAX_FOREIGN then break end
    asked_for = math.max(quota - got, math.min(skipped, STEP))
    due = redis.call('ZRANGEBYSCORE', lane, '-inf', now, 'WITHSCORES', 'LIMIT', skipped, asked_for)
  end
  return got
end

-- A lane's limit keys, and what is to be asked of them.
local function survey(lane)
  local found = states_of(keys_of(lane, aliases))
  found.weight, found.names, found.metered = weight_of(found), write_names(found), {}
  for _, s in ipairs(found) do
    found.limited = found.limited or s.limited
    if s.tpm or s.limit.tpd or s.budget then found.metered[#found.metered + 1] = s end
  end
  return found
end

-- How many at most a turn may take, so that what is free is shared by the lanes that are due.
local function free_of(found)
  local free = HUGE
  if found.limited then
    for _, s in ipairs(found) do if s.limited then free = math.min(free, (room(s))) end end
  end
  return free
end

-- When a lane deserves its next look, now that it has been served; nil for never.
local function next_look(visit, place)
  local first = redis.call('ZRANGE', visit.lane, 0, 0, 'WITHSCORES')[2]
  if not first then return end
  if tonumber(first) > now then return first end
  local turns = visit.got / visit.found.weight
  local turn_ms = visit.since + (now - visit.since) * turns
  if turns >= 1 then turn_ms = math.min(now, now - 0.5 / turns + place / 2048) end  -- behind those who got less
  if not visit.shut then return turn_ms end
  wait_for(visit.shut, visit.lane, turn_ms, visit.at, visit.got == 0, visit.need)
  return now + SAFETY_MS
end

local function reschedule(visits)
  local looks, empty = {}, {}
  for place, visit in ipairs(visits) do
    local at = next_look(visit, place)
    if at then
      looks[#looks + 1] = at
      looks[#looks + 1] = visit.lane
    else
      empty[#empty + 1] = visit.lane
    end
  end
  if #looks > 0 then redis.call('ZADD', lanes, unpack(looks)) end
  if #empty > 0 then redis.call('ZREM', lanes, unpack(empty)) end
end

-- Serves the lane of a visit, up to its share of what is wanted and of what is free, by its weight among the rest.
local function call_on(visit, share, rest)
  local found, got, quota = visit.found, 0, 0
  if found.limited then visit.shut, visit.at, visit.need = first_shut(found, visit.since, 0, 0) end
  if not visit.shut then
    local free = free_of(found)
    local fair = math.max(1, math.min(share, free / rest) * found.weight)
    quota = math.min(math.ceil(fair), free, want, MAX_TAKEN)
    got, visit.shut, visit.at, visit.need = serve(visit.lane, visit.since, quota, found)
  end
  visit.got, want = visit.got + got, want - got
  if visit.shut and visit.got == 0 then  -- nobody overtakes it in this claim
    visit.shut.oldest = math.min(oldest(visit.shut), visit.since)
  end
  return got >= quota and not visit.shut
end

-- Reads what is known of all keys of these lanes, with one command for their limits.
local function read_ahead(turn)
  local keys, had = {}, {}
  for at = 1, math.min(want, #turn) do
    for _, key in ipairs(keys_of(turn[at].lane, aliases)) do
      if not had[key] then keys[#keys + 1], had[key] = key, true end
    end
  end
  states_of(keys)
end

-- One turn of the lanes that are due. Returns how many there were.
local function go_round()
  local due = redis.call('ZRANGEBYSCORE', lanes, '-inf', now, 'WITHSCORES', 'LIMIT', 0, MAX_LANES)
  local turn, seen = {}, {}
  for i = 1, #due, 2 do
    turn[#turn + 1] = { lane = due[i], since = tonumber(due[i + 1]), got = 0 }
  end
  read_ahead(turn)
  while want > 0 and #turn > 0 do
    local again, rest, share = {}, 0, nil
    for at, visit in ipairs(turn) do
      if not visit.found and at <= want then  -- more are not served, unless of these some are blocked
        visit.found = survey(visit.lane)
      end
      visit.weight = visit.found and visit.found.weight or 1
      rest = rest + visit.weight
    end
    share = want / rest
    for _, visit in ipairs(turn) do
      if want <= 0 then break end  -- the others keep their place in the queue of lanes
      visit.found = visit.found or survey(visit.lane)
      if not visit.seen then seen[#seen + 1], visit.seen = visit, true end
      if call_on(visit, share, rest) then again[#again + 1] = visit end
      rest = rest - visit.weight
    end
    turn = again
  end
  reschedule(seen)
  return #due / 2
end

local head = redis.call('ZRANGE', own, 0, 0, 'WITHSCORES')
if #head > 0 then
  redis.call('ZADD', lanes, 'LT', math.max(now, tonumber(head[2])), own)
end
local gates = redis.call('ZRANGEBYSCORE', KEY.gates, '-inf', now, 'LIMIT', 0, MAX_GATES)
local let_in = 0
for _, key in ipairs(gates) do
  let_in = let_in + open(state_of(key))
end
local visited = go_round()
for _ = 1, 3 do  -- a lane that was let go may have been empty by then
  local touched = {}
  for key, s in pairs(states) do
    if want > 0 and s.limited and room(s) > 0 then touched[#touched + 1] = key end
  end
  if open_waited(touched) == 0 then break end
  visited = go_round()
end
save_all()
if let_in > 0 and want <= 0 then redis.call('PUBLISH', KEY.wake, '') end  -- others may have room for them

local first = redis.call('ZRANGE', lanes, 0, 0, 'WITHSCORES')
local gate = redis.call('ZRANGE', KEY.gates, 0, 0, 'WITHSCORES')
local next_ms = math.min(tonumber(first[2] or HUGE), tonumber(gate[2] or HUGE))
local more = (visited == MAX_LANES or #gates == MAX_GATES or want <= 0) and 1 or 0
return { now, next_ms < HUGE and math.ceil(next_ms) or -1, more, token, asked, epoch, taken }
