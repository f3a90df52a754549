-- abort: ends a job that has not started, or asks the worker that runs it to cancel it.
-- needs: clock, names, conversations, places
--
-- ARGV[1]  job id
-- ARGV[2]  its lane: zset, job id → Unix ms when due
-- ARGV[3]  the result of an aborted job, JSON; it lives a day
--
-- Returns 'ended' (it will never start), 'asked' (its worker will cancel it) or 'absent' (finished
-- or unknown: nothing is written, so that a later job of the same id is not hit).

local id, lane, aborted = ARGV[1], ARGV[2], ARGV[3]

if #ARGV ~= 3 then
  return redis.error_reply('abort: three arguments')
end
if cmd('EXISTS', KEY.in_progress .. id) == 1 then
  cmd('ZADD', KEY.aborts, now, id)  -- workers read it
  cmd('PUBLISH', KEY.wake_channel, id)
  return 'asked'
end
if cmd('EXISTS', KEY.job .. id) == 0 then
  return 'absent'
end
local moment = cmd('ZSCORE', lane, id)
local back = moment and tonumber(moment) > now and return_at(moment, lane, id)
if back then cmd('ZREM', KEY.returns, back) end
cmd('ZREM', lane, id)
depart(lane, id)
for _, key in ipairs(turns_of(lane)) do
  local _, next_lane = first_turn(key)
  if next_lane then
    cmd('ZADD', lanes_of(next_lane), 'LT', now, next_lane)
    cmd('PUBLISH', KEY.wake_channel, '')
  end
end
if lane ~= KEY.queue then cmd('ZREM', KEY.queue, id) end  -- where it may stand, too, never due
cmd('UNLINK', KEY.job .. id, KEY.retry .. id, KEY.crashes .. id, KEY.attempts .. id, KEY.last .. id, KEY.parts .. id)
cmd('SET', KEY.result .. id, aborted, 'PX', DAY_MS)
cmd('PUBLISH', KEY.done_channel .. id, '')
return 'ended'
