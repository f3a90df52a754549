-- enqueue: puts jobs into their lanes, each id once.
-- needs: clock, names, conversations
--
-- ARGV, for each job, six:
--   its id
--   its payload, JSON
--   wait before it is due, ms; below 0 is a head start, which a conversation has no use for
--   its life from now on, ms: it is not started, nor tried again, after that
--   its lane: zset, job id → Unix ms when due
--   what is to be known of it at its deadline, should it never start, JSON, kept for a day more; or ''
--
-- Each job is due a µs after the one before it, and takes longer than that: they stay in the order in which they came,
-- those of one script and of all that follow. A score of today has a fourth of a µs.
--
-- A job of the lane without a name stands in arq's queue, too, never due: plain arq clients look for it there, and a
-- stock worker, which may not read JSON, does not take it. The later it came, the later it stands there, by a ms for each
-- 0.1 s since 1970, which stays in that year: so what ends is found at the head, among many, too.
--
-- Returns a list: 1 where the job is new, 0 where the id is queued, running or has its result.

if #ARGV == 0 or #ARGV % 6 ~= 0 then
  return redis.error_reply('enqueue: six arguments for each job')
end

for at = 5, #ARGV, 6 do  -- before anything is written: what another program has under the name of a queue is refused
  local lane = ARGV[at]
  if string.sub(lane, 1, #KEY.lane) ~= KEY.lane and lane ~= KEY.queue then redis.call('ZSCORE', lane, '') end
end

local added, look_ms, came_us = {}, {}, now_us
for at = 1, #ARGV, 6 do
  local id, payload, wait_ms, life_ms, lane, note = unpack(ARGV, at, at + 5)
  local job = KEY.job .. id
  if cmd('EXISTS', job, KEY.result .. id, KEY.in_progress .. id) > 0 then  -- it may outlive its payload
    added[#added + 1] = 0
  else
    cmd('SET', job, payload, 'PX', life_ms)  -- first: after another write a full server takes it
    -- of an old job of this id: a worker of before may write its attempts late, a client of before abort between two tries
    cmd('DEL', KEY.stream .. id, KEY.attempts .. id, KEY.retry .. id, KEY.crashes .. id, KEY.last .. id,
      KEY.parts .. id)
    if note ~= '' then cmd('SET', KEY.last .. id, note, 'PX', life_ms + DAY_MS) end
    if turns_of(lane)[1] then wait_ms = math.max(0, wait_ms) end
    cmd('ZADD', lane, came_us / 1000 + wait_ms, id)
    enter(lane, id, came_us / 1000 + wait_ms)
    came_us = came_us + 1
    if lane == KEY.lane then cmd('ZADD', KEY.queue, FACT.elsewhere_ms + came_us / 100000, id) end
    look_ms[lane] = math.min(look_ms[lane] or math.huge, now + math.max(0, wait_ms))
    added[#added + 1] = 1
  end
end
for lane, ms in pairs(look_ms) do  -- its own workers look at a named queue themselves; others must not
  if not is_named(lane) then cmd('ZADD', lanes_of(lane), 'LT', ms, lane) end
end
if next(look_ms) then cmd('PUBLISH', KEY.wake_channel, '') end
return added
