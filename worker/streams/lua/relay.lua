-- relay: writes what streamed answers have said since the last tick, and tells who follows them.
-- needs: clock
--
-- ARGV[1]  life of a stream, ms, from now on; what ends its job gives it another
-- then, for each event, two: job id, '{claim µs of its run}-{its number in the run, from 1 on} {event}'
--   (without an event nothing is written: the run has nothing to say, but it has begun)
--
-- What stands before the space is the entry's id. So an event that is sent twice is refused, and so is a run that has
-- lost its job to a newer one. The first event of a run empties the stream if there is one, and puts a reset before it.
-- Returns a list: 1 where it was written, 0 where it was refused.

local life_ms = tonumber(ARGV[1])
local RENEW_EVERY = 1000  -- events

if #ARGV < 3 or #ARGV % 2 ~= 1 or not life_ms then
  return redis.error_reply('relay: an argument and two for each event')
end

local function put(id, entry, event, message)
  local key = KEY.stream .. id
  local reply = redis.pcall('XADD', key, entry, FACT.event_field, event)
  if type(reply) == 'table' and string.find(reply.err, 'WRONGTYPE', 1, true) then
    reply = cmd('XADD', key, entry, FACT.event_field, event)
  end
  if type(reply) ~= 'table' then
    cmd('PUBLISH', KEY.events_channel .. id, message)
    return true
  end
  local is_late = string.find(reply.err, 'smaller than', 1, true) or string.find(reply.err, 'exhausted', 1, true)
  return false, not is_late and reply.err
end

local written = {}
for at = 2, #ARGV, 2 do
  local id, message = ARGV[at], ARGV[at + 1]
  local run, number, start = string.match(message, '^(%d+)%-(%d+) ()')
  if not run then return redis.error_reply('relay: an event begins with its id') end
  local key, ok, err = KEY.stream .. id, false, false
  local there = cmd('EXISTS', key) == 1
  if there and number == '1' then
    local begin = run .. '-0'
    ok, err = put(id, begin, FACT.reset, begin .. ' ' .. FACT.reset)
    if ok then cmd('XTRIM', key, 'MINID', begin) end
  end
  if start <= #message and not err then
    ok, err = put(id, run .. '-' .. number, string.sub(message, start), message)
  end
  if err then return redis.error_reply(err) end
  if ok and (not there or number % RENEW_EVERY == 1) then cmd('PEXPIRE', key, life_ms) end
  written[#written + 1] = ok and 1 or 0
end
return written
