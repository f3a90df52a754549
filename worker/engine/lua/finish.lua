-- finish: writes down how jobs ended, each only for the holder of its fencing token, and frees its slots.
-- needs: congestion, gates, endings, unread
--
-- ARGV[1]  how many kinds of outcomes there are
-- ARGV[2]  arguments of each job: four, or seven
-- then, for each kind, seven: lane, verb, ttl ms, delay ms, keep ms, limit keys (write_names), 1 where an earlier run
--   had begun or 0
-- then, for each job: the number of its kind, id, token, text; and, of seven: use, to, attempts
--   done       text is the result ('' keeps none), kept for ttl (0: for ever); keep holds the id back; `to` is how
--              long its stream can be read from now on, ms, and the event that ends it; '' where it has none
--   dead       as done, and the job becomes a dead letter
--   retry      back in its place after the delay; a try is used; the count lives for ttl, and so does text, which tells
--              how the run ended, for the case that the deadline comes before the next one
--   throttled  back in its place at once, or, where its refusal concerns it alone (proof.lua), after a while; no try is
--              used, but the count is there: it has run
--   again      as retry, but no try is used
--   back       handed back unfinished, to its place; no try is used
--   reroute    as back, but in the lane `to`, with text as its payload where there is one. Plain arq clients look
--              for it in arq's queue: there it stays too, never due
--   unread     left where it is, for a worker that can read it
--   use: what settle (congestion.lua) takes, '' for nothing to settle
--   attempts: what the run's calls came to, a line of JSON each, for the runs after it; '' for none
--
-- Returns a list: 1 where it was accepted, 0 where the token is not, or no longer, the job's.

local FIELDS_OF_A_KIND = 7
local FINAL = { done = true, dead = true, retry = false, throttled = false, again = false, back = false, reroute = false,
  unread = false }

local count, width, kinds = tonumber(ARGV[1]), tonumber(ARGV[2]), {}
local first = 3 + FIELDS_OF_A_KIND * (count or 0)  -- argument of the first job

if not count or width ~= 4 and width ~= 7 or #ARGV < first or (#ARGV - first + 1) % width ~= 0 then
  return redis.error_reply('finish: kinds, and four or seven arguments for each job')
end
for n = 1, count do  -- before anything is written
  local at = first - FIELDS_OF_A_KIND * (count - n + 1)
  local lane, verb, ttl_ms, delay_ms, keep_ms, names, has_run = unpack(ARGV, at, at + FIELDS_OF_A_KIND - 1)
  local kind = { lane = lane, verb = verb, final = FINAL[verb], ttl_ms = tonumber(ttl_ms), delay_ms = tonumber(delay_ms),
    keep_ms = tonumber(keep_ms), keys = read_names(names), has_run = has_run ~= '0' }
  if kind.final == nil or not (kind.ttl_ms and kind.delay_ms and kind.keep_ms) then
    return redis.error_reply('finish: an outcome needs one of eight verbs and three numbers')
  end
  kinds[tostring(n)] = kind
end
for at = first, #ARGV, width do
  if not kinds[ARGV[at]] then return redis.error_reply('finish: a job of an unknown kind') end
end

local gone = {}  -- limit key → holders that leave it

-- Returns how long a refused job waits alone, ms; nil for any other.
local function free(id, read, token, use)
  local alone_ms
  if use ~= '' and #read.metered > 0 then
    read.states = read.states or states_of(read.metered)
    alone_ms = settle(read.states, claimed_ms(token), use)
  end
  for _, key in ipairs(read.keys) do
    local holders, s = gone[key], states[key]
    if not holders then
      holders = {}
      gone[key] = holders
    end
    holders[#holders + 1] = id
    if s and s.used then s.used = s.used - 1 end
    if s then look_anew(s) end
  end
  return alone_ms
end

local function conclude(kind, id, token, text, use, to, attempts)
  local lane, verb = kind.lane, kind.verb
  local alone_ms = free(id, kind.keys, token, use)
  if attempts ~= '' then remember(id, attempts) end
  if verb == 'dead' then bury(id, lane, text) end
  if kind.final then
    if to ~= '' then end_stream(id, to) end
    leave(id, kind, text)
    return
  end
  local place, has_run = place_of(token), kind.has_run or attempts ~= ''
  if verb == 'back' then
    if has_run then tried(id, 0, FACT.attempts_ttl_ms) end  -- or nobody would look for what that has left
    wait(id, lane, place)
  elseif verb == 'reroute' then
    reroute(id, lane, to, text, place)
    if has_run then tried(id, 0, FACT.attempts_ttl_ms) end
  elseif verb == 'unread' then
    leave_unread(lane, id, place)
  else
    tried(id, verb == 'retry' and 1 or 0, kind.ttl_ms)
    if text ~= '' then cmd('SET', KEY.last .. id, text, 'PX', kind.ttl_ms) end
    local wait_ms = alone_ms or verb ~= 'throttled' and kind.delay_ms or 0
    if wait_ms > 0 then wait_out(id, lane, place, wait_ms) else wait(id, lane, place) end
  end
end

local accepted, running, ended = {}, {}, {}
for at = first + 1, #ARGV, width do running[#running + 1] = KEY.in_progress .. ARGV[at] end
local tokens = #running > 0 and cmd('MGET', unpack(running))
for n = 1, #running do
  local at = first + (n - 1) * width
  local id, token = ARGV[at + 1], ARGV[at + 2]
  local mine = tokens[n] == token and not ended[id]
  accepted[n] = mine and 1 or 0
  if mine then
    ended[id] = true
    local use, to, attempts = '', '', ''
    if width == 7 then use, to, attempts = unpack(ARGV, at + 4, at + 6) end
    conclude(kinds[ARGV[at]], id, token, ARGV[at + 3], use, to, attempts)
  end
end

local freed = {}
for key, holders in pairs(gone) do
  cmd('ZREM', KEY.slots .. key, unpack(holders))
  if states[key] then
    states[key].used = nil
    look_anew(states[key])
  end
  freed[#freed + 1] = key
end
if open_waited(freed) > 0 then after.wanted = true end
save_all()
for _, id in ipairs(after.elsewhere) do go(KEY.queue, id) end
for lane, ids in pairs(after.left) do
  if cmd('ZREM', lane, unpack(ids)) > 0 and cmd('EXISTS', lane) == 0 then cmd('ZREM', lanes_of(lane), lane) end
end
if after.wanted then cmd('PUBLISH', KEY.wake_channel, '') end
return accepted
