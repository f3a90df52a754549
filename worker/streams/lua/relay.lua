-- relay: writes what streamed answers have said since the last tick, and tells who follows them.
--
-- KEYS     none; streams are built from their prefix
-- ARGV[1]  prefix of streams      ARGV[2]  prefix of the channels of their events
-- ARGV[3]  field of an entry that holds its event
-- ARGV[4]  life of a stream, ms, from now on; what ends its job gives it another
-- ARGV[5]  the event that tells of a new run
-- then, for each event, two: job id, '{claim µs of its run}-{its number in the run, from 1 on} {event}'
--   (without an event nothing is written: the run has nothing to say, but it has begun)
--
-- What stands before the space is the entry's id. So an event that is sent twice is refused, and so is a run that has
-- lost its job to a newer one. The first event of a run empties the stream if there is one, and puts a reset before it.
-- Returns a list: 1 where it was written, 0 where it was refused.

local streams, channels, field, life_ms, reset = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5]
local RENEW_EVERY = 1000  -- events

if #ARGV < 7 or #ARGV % 2 ~= 1 or not life_ms then
  return redis.error_reply('relay: five arguments and two for each event')
end

local function put(id, entry, event, message)
  local reply = redis.pcall('XADD', streams .. id, entry, field, event)
  if type(reply) ~= 'table' then
    redis.call('PUBLISH', channels .. id, message)
    return true
  end
  return false, not string.find(reply.err, 'smaller than', 1, true) and reply.err
end

local written = {}
for at = 6, #ARGV, 2 do
  local id, message = ARGV[at], ARGV[at + 1]
  local run, number, start = string.match(message, '^(%d+)%-(%d+) ()')
  if not run then return redis.error_reply('relay: an event begins with its id') end
  local key, ok, err = streams .. id, false, false
  local there = redis.call('EXISTS', key) == 1
  if there and number == '1' then
    local begin = run .. '-0'
    ok, err = put(id, begin, reset, begin .. ' ' .. reset)
    if ok then redis.call('XTRIM', key, 'MINID', begin) end
  end
  if start <= #message and not err then
    ok, err = put(id, run .. '-' .. number, string.sub(message, start), message)
  end
  if err then return redis.error_reply(err) end
  if ok and (not there or number % RENEW_EVERY == 1) then redis.call('PEXPIRE', key, life_ms) end
  written[#written + 1] = ok and 1 or 0
end
return written
