-- finish: writes down how jobs ended, each only for the holder of its fencing token, and frees its slots.
-- needs: congestion, gates, endings, unread
--
-- ARGV, for each job, twelve:
--   id, lane, token, verb, text, ttl ms, delay ms, keep ms, limit keys (write_names), use, to, attempts
--   done       text is the result ('' keeps none), kept for ttl (0: for ever); keep holds the id back; `to` is the
--              event that ends the job's stream, '' where it has none
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

local FIELDS_OF_A_JOB = 12
local VERBS = { done = true, dead = true, retry = true, throttled = true, again = true, back = true, reroute = true,
  unread = true }

if #ARGV % FIELDS_OF_A_JOB ~= 0 or #ARGV == 0 then
  return redis.error_reply('finish: twelve arguments for each job')
end
for at = 1, #ARGV, FIELDS_OF_A_JOB do  -- before anything is written
  local ttl_ms, delay_ms, keep_ms = tonumber(ARGV[at + 5]), tonumber(ARGV[at + 6]), tonumber(ARGV[at + 7])
  if not (VERBS[ARGV[at + 3]] and ttl_ms and delay_ms and keep_ms) then
    return redis.error_reply('finish: a job needs one of eight verbs and three numbers')
  end
end

local gone = {}  -- limit key → holders that leave it

-- Returns how long a refused job waits alone, ms; nil for any other.
local function free(id, names, token, use)
  local read, alone_ms = read_names(names), nil
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

local accepted, running, ended = {}, {}, {}
for at = 1, #ARGV, FIELDS_OF_A_JOB do running[#running + 1] = KEY.in_progress .. ARGV[at] end
local tokens = cmd('MGET', unpack(running))
for at = 1, #ARGV, FIELDS_OF_A_JOB do
  local id, lane, token, verb, text = unpack(ARGV, at, at + 4)
  local ttl_ms, delay_ms, keep_ms = tonumber(ARGV[at + 5]), tonumber(ARGV[at + 6]), tonumber(ARGV[at + 7])
  local names, use, to, attempts = unpack(ARGV, at + 8, at + 11)
  local mine = tokens[#accepted + 1] == token and not ended[id]
  ended[id] = ended[id] or mine
  accepted[#accepted + 1] = mine and 1 or 0
  local alone_ms = mine and names ~= '' and free(id, names, token, use)
  if mine and attempts ~= '' then remember(id, attempts) end
  if mine and verb == 'dead' then bury(id, lane, text) end
  if mine and to ~= '' and (verb == 'done' or verb == 'dead') then end_stream(id, to, ttl_ms) end
  if mine and (verb == 'done' or verb == 'dead') then
    leave(id, lane, verb, text, ttl_ms, keep_ms)
  elseif mine and verb == 'back' then
    if attempts ~= '' then tried(id, 0, FACT.attempts_ttl_ms) end  -- or nobody would read them
    wait(id, lane, place_of(token))
  elseif mine and verb == 'reroute' then
    reroute(id, lane, to, text, place_of(token))
  elseif mine and verb == 'unread' then
    leave_unread(lane, id, place_of(token))
  elseif mine then
    tried(id, verb == 'retry' and 1 or 0, ttl_ms)
    if text ~= '' then cmd('SET', KEY.last .. id, text, 'PX', ttl_ms) end
    local wait_ms, place = alone_ms or verb ~= 'throttled' and delay_ms or 0, place_of(token)
    if wait_ms > 0 then wait_out(id, lane, place, wait_ms) else wait(id, lane, place) end
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
  cmd('ZREM', lane, unpack(ids))
  if cmd('EXISTS', lane) == 0 then cmd('ZREM', lanes_of(lane), lane) end
end
if after.wanted then cmd('PUBLISH', KEY.wake_channel, '') end
return accepted
