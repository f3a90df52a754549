-- endings: what becomes of a job: it leaves for good, waits again, is rerouted, or is buried; its attempts.
-- needs: clock, names, places, conversations
-- gives: after, go, leave, wait, wait_out, reroute, bury, end_stream, tried, remember

local DEAD_TTL_MS = 30 * DAY_MS  -- how long a dead letter waits for somebody to look at it
local MAX_DEAD = 10000

-- What finish.lua has still to see to: workers are `wanted`, lanes that jobs have `left` and which, those that may stand
-- in arq's queue as well (`elsewhere`).
local after = { wanted = false, left = {}, elsewhere = {} }
local aborting = cmd('EXISTS', KEY.aborts) == 1

-- The job is no longer in the lane.
local function go(lane, id)
  local ids = after.left[lane]
  if ids then ids[#ids + 1] = id else after.left[lane] = { id } end
end

-- That it has run, and the tries it has used by that.
local function tried(id, used, ttl_ms)
  local key = KEY.retry .. id
  if type(redis.pcall('INCRBY', key, used)) == 'table' then cmd('SET', key, used) end  -- it was no number
  cmd('PEXPIRE', key, ttl_ms)
end

-- The attempts of a run, a line each.
local function remember(id, attempts)
  local key, rows = KEY.attempts .. id, {}
  for row in string.gmatch(attempts, '[^\n]+') do rows[#rows + 1] = row end
  cmd('RPUSH', key, unpack(rows))
  cmd('LTRIM', key, -FACT.max_attempts, -1)
  cmd('PEXPIRE', key, FACT.attempts_ttl_ms)
end

local function bury(id, lane, text)
  local key = KEY.dead .. id
  cmd('HSET', key, 'job', cmd('GET', KEY.job .. id) or '', 'lane', lane, 'result', text,
    'crashes', table.concat(cmd('LRANGE', KEY.crashes .. id, -FACT.max_attempts, -1), '\n'),
    'attempts', '[' .. table.concat(cmd('LRANGE', KEY.attempts .. id, -FACT.max_attempts, -1), ',') .. ']')
  cmd('PEXPIRE', key, DEAD_TTL_MS)
  cmd('ZADD', KEY.dead_letters, now, id)
  cmd('ZREMRANGEBYSCORE', KEY.dead_letters, '-inf', now - DEAD_TTL_MS)  -- their letters have expired
  local surplus = cmd('ZCARD', KEY.dead_letters) - MAX_DEAD
  for at, old in ipairs(surplus > 0 and cmd('ZPOPMIN', KEY.dead_letters, surplus) or {}) do
    if at % 2 == 1 then cmd('DEL', KEY.dead .. old) end
  end
  cmd('PEXPIRE', KEY.dead_letters, DEAD_TTL_MS)
end

-- An entry's id begins with microseconds, of a run's claim or now: whatever that run writes later is refused.
-- `last`: how long it can be read from now on, ms, and its last event.
local function end_stream(id, last)
  local ttl_ms, event = string.match(last, '^(%d+) (.*)$')
  local key, entry = KEY.stream .. id, string.format('%.0f-0', now_us)
  if type(redis.pcall('XADD', key, entry, FACT.event_field, event)) == 'table' then  -- the clock was set back
    entry = redis.pcall('XADD', key, '*', FACT.event_field, event)  -- behind the last, whose µs are later than any ms
  end
  if type(entry) == 'table' then return end  -- no stream is worth an outcome: readers end by the result, too
  cmd('PEXPIRE', key, ttl_ms)
  cmd('PUBLISH', KEY.events_channel .. id, entry .. ' ' .. event)
end

-- A job ends for good; `kind`: see finish.lua.
local function leave(id, kind, text)
  local lane, job, running = kind.lane, KEY.job .. id, KEY.in_progress .. id
  if text ~= '' and kind.ttl_ms > 0 then
    cmd('SET', KEY.result .. id, text, 'PX', kind.ttl_ms)
  elseif text ~= '' then
    cmd('SET', KEY.result .. id, text)
  end
  local made = kind.verb == 'done' and KEY.parts .. id or job  -- a dead letter that is revived has use for its parts
  cmd('UNLINK', job, running, KEY.last .. id, made)
  if kind.has_run or kind.verb == 'dead' then  -- which may have come with attempts
    cmd('UNLINK', KEY.retry .. id, KEY.crashes .. id, KEY.attempts .. id)
  end
  if kind.keep_ms > 0 then cmd('SET', running, 'ended', 'PX', kind.keep_ms) end
  go(lane, id)
  if lane ~= KEY.queue then after.elsewhere[#after.elsewhere + 1] = id end
  if aborting then cmd('ZREM', KEY.aborts, id) end
  cmd('PUBLISH', KEY.done_channel .. id, '')
end

-- It waits in its place.
local function wait(id, lane, place)
  cmd('DEL', KEY.in_progress .. id)
  cmd('ZADD', lane, place, id)
  enter(lane, id, place)
  cmd('ZADD', lanes_of(lane), 'LT', now, lane)  -- behind the lanes that wait already
  after.wanted = true
end

-- It goes back to its place after a while.
local function wait_out(id, lane, place, delay_ms)
  cmd('DEL', KEY.in_progress .. id)
  cmd('ZADD', lane, now + delay_ms, id)
  cmd('ZADD', KEY.returns, now + delay_ms, return_of(place, lane, id))
  enter(lane, id, place)
  cmd('ZADD', lanes_of(lane), 'LT', now + delay_ms, lane)
end

local function reroute(id, lane, to, text, place)
  if lane == KEY.queue then
    cmd('ZADD', lane, FACT.elsewhere_ms, id)
  elseif lane ~= to then
    go(lane, id)
  end
  if text ~= '' then
    local life_ms = cmd('PTTL', KEY.job .. id)
    if life_ms > 0 then cmd('SET', KEY.job .. id, text, 'PX', life_ms) end
  end
  if cmd('EXISTS', KEY.attempts .. id) == 1 then  -- it has run, but its next model has all its tries
    cmd('SET', KEY.retry .. id, 0, 'PX', math.max(1, cmd('PTTL', KEY.attempts .. id)))
  end
  wait(id, to, place)
end
