-- finish: writes down how jobs ended, each only for the holder of its fencing token.
--
-- KEYS[1]   lanes: zset, lane → Unix ms when it deserves a look
-- KEYS[2]   aborts: zset, job id → Unix ms of the request
-- KEYS[3]   dead letters: zset, job id → Unix ms of death
-- ARGV[1]   prefixes of the keys of a job: in progress, job, retry, result, crashes, attempts, dead
--   …[7]
-- ARGV[8]   prefix of the channel that tells of a result
-- ARGV[9]   channel that wakes workers
-- ARGV[10]  life of a dead letter, ms
-- then, for each job, eight: id, lane, token, verb, text, ttl ms, moment or delay ms, keep ms
--   done   text is the result ('' keeps none), kept for ttl (0: for ever); keep holds the id back
--   dead   as done, and the job becomes a dead letter
--   retry  due again after the delay; a try is used; the count lives for ttl
--   again  as retry, and no try is used, but the count is there: the job has run before
--   back   handed back unfinished: due at the moment it was due before; no try is used
--
-- Returns a list: 1 where it was accepted, 0 where the token is not, or no longer, the job's.

local lanes, aborts, dead = KEYS[1], KEYS[2], KEYS[3]
local running, job, retry, result = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local crashes, attempts, letter, done = ARGV[5], ARGV[6], ARGV[7], ARGV[8]
local wake, dead_ttl_ms = ARGV[9], tonumber(ARGV[10])
local MAX_DEAD = 10000
local FIELDS = 8
local VERBS = { done = true, dead = true, retry = true, again = true, back = true }

if #KEYS ~= 3 or (#ARGV - 10) % FIELDS ~= 0 or #ARGV < 10 + FIELDS or not dead_ttl_ms then
  return redis.error_reply('finish: three keys, ten arguments and eight for each job')
end
for at = 11, #ARGV, FIELDS do  -- before anything is written
  local ttl_ms, moment, keep_ms = tonumber(ARGV[at + 5]), tonumber(ARGV[at + 6]), tonumber(ARGV[at + 7])
  if not (VERBS[ARGV[at + 3]] and ttl_ms and moment and keep_ms) then
    return redis.error_reply('finish: a job needs one of five verbs and three numbers')
  end
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local aborting = redis.call('EXISTS', aborts) == 1
local wanted, left = false, {}

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

local function leave(id, lane, text, ttl_ms, keep_ms)
  if text ~= '' and ttl_ms > 0 then
    redis.call('SET', result .. id, text, 'PX', ttl_ms)
  elseif text ~= '' then
    redis.call('SET', result .. id, text)
  end
  redis.call('DEL', job .. id, running .. id, retry .. id, crashes .. id, attempts .. id)
  if keep_ms > 0 then redis.call('SET', running .. id, 'ended', 'PX', keep_ms) end
  redis.call('ZREM', lane, id)
  left[lane] = true
  if aborting then redis.call('ZREM', aborts, id) end
  redis.call('PUBLISH', done .. id, '')
end

local function wait(id, lane, at)
  redis.call('DEL', running .. id)
  redis.call('ZADD', lane, at, id)
  redis.call('ZADD', lanes, 'LT', math.max(at, now), lane)  -- behind the lanes that wait already
  wanted = wanted or at <= now
end

local accepted = {}
for at = 11, #ARGV, FIELDS do
  local id, lane, token, verb, text = unpack(ARGV, at, at + 4)
  local ttl_ms, moment, keep_ms = tonumber(ARGV[at + 5]), tonumber(ARGV[at + 6]), tonumber(ARGV[at + 7])
  local mine = redis.call('GET', running .. id) == token
  accepted[#accepted + 1] = mine and 1 or 0
  if mine and verb == 'dead' then bury(id, lane, text) end
  if mine and (verb == 'done' or verb == 'dead') then
    leave(id, lane, text, ttl_ms, keep_ms)
  elseif mine and verb == 'back' then
    wait(id, lane, moment)
  elseif mine then
    redis.call('INCRBY', retry .. id, verb == 'retry' and 1 or 0)
    redis.call('PEXPIRE', retry .. id, ttl_ms)
    wait(id, lane, now + moment)
  end
end
for lane in pairs(left) do
  if redis.call('EXISTS', lane) == 0 then redis.call('ZREM', lanes, lane) end
end
if wanted then redis.call('PUBLISH', wake, '') end
return accepted
