-- finish: writes down how jobs ended, each only for the holder of its fencing token, and frees its slots.
-- Follows the scripts of client/limits/lua.
--
-- KEYS[1]   aborts: zset, job id → Unix ms of the request
-- KEYS[2]   dead letters: zset, job id → Unix ms of death
-- ARGV[1]   prefixes of the keys of a job: in progress, job, retry, result, crashes, attempts, dead
--   …[7]
-- ARGV[8]   prefix of the channel that tells of a result
-- ARGV[9]   channel that wakes workers
-- ARGV[10]  life of a dead letter, ms
-- ARGV[11]  prefix of the key with the parts of a job that are done
-- then, for each job, eleven: id, lane, token, verb, text, ttl ms, moment or delay ms, keep ms, limit keys, use, to
--   done   text is the result ('' keeps none), kept for ttl (0: for ever); keep holds the id back; `to` is the event
--          that ends the job's stream, '' where it has none
--   dead   as done, and the job becomes a dead letter
--   retry  due again after the delay; a try is used; the count lives for ttl
--   away   turned away: due at the moment it was due before; no try is used, but the count is there: it has run
--   again  as away, but due after the delay
--   back   handed back unfinished: due at the moment it was due before; no try is used
--   move   as back, but into the lane `to`, with text as its payload where there is one. Plain arq clients look for it
--          in arq's queue: there it stays too, never due
-- limit keys: '\n' between them, '' for none; use: what settle (congestion.lua) takes, '' for nothing to settle
--
-- Returns a list: 1 where it was accepted, 0 where the token is not, or no longer, the job's.

local aborts, dead = KEYS[1], KEYS[2]
local running, job, retry, result = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local crashes, attempts, letter, done = ARGV[5], ARGV[6], ARGV[7], ARGV[8]
local wake, dead_ttl_ms, parts = ARGV[9], tonumber(ARGV[10]), ARGV[11]
local MAX_DEAD = 10000
local FIRST_JOB, FIELDS_OF_A_JOB = 12, 11
local STREAM_TTL_MS = 86400000  -- where the result has none
local VERBS = { done = true, dead = true, retry = true, away = true, again = true, back = true, move = true }

if #KEYS ~= 2 or (#ARGV + 1 - FIRST_JOB) % FIELDS_OF_A_JOB ~= 0 or #ARGV < FIRST_JOB or not dead_ttl_ms then
  return redis.error_reply('finish: two keys, eleven arguments and eleven for each job')
end
for at = FIRST_JOB, #ARGV, FIELDS_OF_A_JOB do  -- before anything is written
  local ttl_ms, moment, keep_ms = tonumber(ARGV[at + 5]), tonumber(ARGV[at + 6]), tonumber(ARGV[at + 7])
  if not (VERBS[ARGV[at + 3]] and ttl_ms and moment and keep_ms) then
    return redis.error_reply('finish: a job needs one of seven verbs and three numbers')
  end
end

local aborting = redis.call('EXISTS', aborts) == 1
local wanted, left, elsewhere = false, {}, {}

local function bury(id, lane, text)
  local key = letter .. id
  redis.call('HSET', key, 'job', redis.call('GET', job .. id) or '', 'lane', lane, 'result', text,
    'crashes', table.concat(redis.call('LRANGE', crashes .. id, 0, -1), '\n'),
    'attempts', '[' .. table.concat(redis.call('LRANGE', attempts .. id, 0, -1), ',') .. ']')
  redis.call('PEXPIRE', key, dead_ttl_ms)
  redis.call('ZADD', dead, now, id)
  redis.call('ZREMRANGEBYSCORE', dead, '-inf', now - dead_ttl_ms)  -- their letters have expired
  local surplus = redis.call('ZCARD', dead) - MAX_DEAD
  for at, old in ipairs(surplus > 0 and redis.call('ZPOPMIN', dead, surplus) or {}) do
    if at % 2 == 1 then redis.call('DEL', letter .. old) end
  end
  redis.call('PEXPIRE', dead, dead_ttl_ms)
end

-- An entry's id begins with microseconds, of a run's claim or now: whatever that run writes later is refused.
local function end_stream(id, event, ttl_ms)
  local key, entry = KEY.stream .. id, string.format('%.0f-0', now_us)
  if type(redis.pcall('XADD', key, entry, 'e', event)) == 'table' then  -- the clock was set back
    entry = redis.pcall('XADD', key, '*', 'e', event)  -- behind the last, whose µs are later than any ms
  end
  if type(entry) == 'table' then return end  -- no stream is worth an outcome: readers end by the result, too
  redis.call('PEXPIRE', key, ttl_ms > 0 and ttl_ms or STREAM_TTL_MS)
  redis.call('PUBLISH', KEY.events .. id, entry .. ' ' .. event)
end

local function leave(id, lane, verb, text, ttl_ms, keep_ms)
  if text ~= '' and ttl_ms > 0 then
    redis.call('SET', result .. id, text, 'PX', ttl_ms)
  elseif text ~= '' then
    redis.call('SET', result .. id, text)
  end
  local made = verb == 'done' and parts .. id or job .. id  -- a dead letter that is revived has use for its parts
  redis.call('UNLINK', job .. id, running .. id, retry .. id, crashes .. id, attempts .. id, made)
  if keep_ms > 0 then redis.call('SET', running .. id, 'ended', 'PX', keep_ms) end
  redis.call('ZREM', lane, id)
  left[lane] = true
  if lane ~= KEY.queue then elsewhere[#elsewhere + 1] = id end
  if aborting then redis.call('ZREM', aborts, id) end
  redis.call('PUBLISH', done .. id, '')
end

local function wait(id, lane, at)
  redis.call('DEL', running .. id)
  redis.call('ZADD', lane, at, id)
  redis.call('ZADD', lanes_of(lane), 'LT', math.max(at, now), lane)  -- behind the lanes that wait already
  wanted = wanted or at <= now
end

local function move(id, lane, to, text, at)
  if lane == KEY.queue then
    redis.call('ZADD', lane, KEY.elsewhere_ms, id)
  else
    redis.call('ZREM', lane, id)
    left[lane] = true
  end
  if text ~= '' then
    local life_ms = redis.call('PTTL', job .. id)
    if life_ms > 0 then redis.call('SET', job .. id, text, 'PX', life_ms) end
  end
  if redis.call('EXISTS', attempts .. id) == 1 then  -- it has run, but its next model has all its tries
    redis.call('SET', retry .. id, 0, 'PX', math.max(1, redis.call('PTTL', attempts .. id)))
  end
  wait(id, to, at)
end

local gone = {}  -- limit key → holders that leave it

local function free(id, names, token, use)
  local read = read_names(names)
  if use ~= '' and #read.metered > 0 then
    read.states = read.states or states_of(read.metered)
    settle(read.states, tonumber(string.match(token, '^mill:(%d+)')) / 1000, use)
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
end

local accepted = {}
for at = FIRST_JOB, #ARGV, FIELDS_OF_A_JOB do
  local id, lane, token, verb, text = unpack(ARGV, at, at + 4)
  local ttl_ms, moment, keep_ms = tonumber(ARGV[at + 5]), tonumber(ARGV[at + 6]), tonumber(ARGV[at + 7])
  local names, use, to = unpack(ARGV, at + 8, at + 10)
  local mine = redis.call('GET', running .. id) == token
  accepted[#accepted + 1] = mine and 1 or 0
  if mine and names ~= '' then free(id, names, token, use) end
  if mine and verb == 'dead' then bury(id, lane, text) end
  if mine and to ~= '' and (verb == 'done' or verb == 'dead') then end_stream(id, to, ttl_ms) end
  if mine and (verb == 'done' or verb == 'dead') then
    leave(id, lane, verb, text, ttl_ms, keep_ms)
  elseif mine and verb == 'back' then
    wait(id, lane, moment)
  elseif mine and verb == 'move' then
    move(id, lane, to, text, moment)
  elseif mine then
    redis.call('INCRBY', retry .. id, verb == 'retry' and 1 or 0)
    redis.call('PEXPIRE', retry .. id, ttl_ms)
    wait(id, lane, verb == 'away' and moment or now + moment)
  end
end

local freed = {}
for key, holders in pairs(gone) do
  redis.call('ZREM', KEY.slots .. key, unpack(holders))
  if states[key] then
    states[key].used = nil
    look_anew(states[key])
  end
  freed[#freed + 1] = key
end
if open_waited(freed) > 0 then wanted = true end
save_all()
if #elsewhere > 0 and redis.call('ZREM', KEY.queue, unpack(elsewhere)) > 0 then left[KEY.queue] = true end
for lane in pairs(left) do
  if redis.call('EXISTS', lane) == 0 then redis.call('ZREM', lanes_of(lane), lane) end
end
if wanted then redis.call('PUBLISH', wake, '') end
return accepted
