-- revive: puts dead letters back into their lanes, with all their tries.
-- needs: clock, names, conversations
--
-- ARGV[1]  life of a job from when it is due, ms
-- then, for each letter, two: id, wait before it is due in ms
--
-- Returns a list: 1 where the job is queued again, 0 where there is no such letter, or its job's
-- arguments are lost, or a new job has its id.

local life_ms = tonumber(ARGV[1])
if not life_ms or #ARGV < 3 or #ARGV % 2 == 0 then
  return redis.error_reply('revive: an argument and two for each letter')
end

local revived = {}
for at = 2, #ARGV, 2 do
  local id, wait_ms = ARGV[at], tonumber(ARGV[at + 1])
  local job, letter, result = KEY.job .. id, KEY.dead .. id, KEY.result .. id
  local payload, lane, own_result = unpack(cmd('HMGET', letter, 'job', 'lane', 'result'))
  local newer = cmd('EXISTS', job, KEY.in_progress .. id) > 0
  if not newer then
    local last_result = cmd('GET', result)
    newer = last_result and last_result ~= own_result
  end
  local possible = payload and payload ~= '' and lane and is_lane(lane) and not newer
  if possible then
    cmd('SET', job, payload, 'PX', wait_ms + life_ms)
    cmd('DEL', result, letter, KEY.stream .. id)
    cmd('ZREM', KEY.dead_letters, id)
    local place = (now_us + at / 2) / 1000 + wait_ms  -- in their order, as enqueue does
    cmd('ZADD', lane, place, id)
    enter(lane, id, place)
    if lane == KEY.lane then cmd('ZADD', KEY.queue, FACT.elsewhere_ms, id) end
    cmd('ZADD', lanes_of(lane), 'LT', now + wait_ms, lane)
  end
  revived[#revived + 1] = possible and 1 or 0
end
cmd('PUBLISH', KEY.wake_channel, '')
return revived
