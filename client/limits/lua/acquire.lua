-- acquire: slots for calls of their own, at once or in their turn.
-- needs: epoch, calls
--
-- ARGV[1]  the epoch this process knows, or ''
-- then, for each call, two: its ticket (names.lua); when it asked first, as it was told, or ''
--
-- Returns ms until a key that is waited for deserves a look (-1: none does), the epoch, and for each call: when it
-- asked first, the key it waits for ('' where it has its slots), tokens and dollars reserved, since when (ms).
-- To ask again changes nothing. Whoever asks, or nobody in particular, opens the keys that are due.

local calls = {}
for i = 2, #ARGV, 2 do calls[#calls + 1] = read_ticket(ARGV[i]) end
if #ARGV == 0 or #calls ~= (#ARGV - 1) / 2 then
  return redis.error_reply('acquire: an argument, and a ticket and a moment for each call')
end

local epoch, quiet_ms = epoch_of(ARGV[1])  -- after Redis has lost its data, who held slots takes them back first
local quiet, lanes = quiet_ms > now, 0
if not quiet then lanes = open_due() end
save_all()

local answers = {}
for n, call in ipairs(calls) do
  local ticket, since = ARGV[2 * n], tonumber(ARGV[2 * n + 1]) or (now_us + n - 1) / 1000
  local tokens, more, lease_end = nil, nil, held_until(call)
  if lease_end > now then  -- asked twice
    tokens, more = estimate(states_of(call.keys), call.input, call.output)
  else
    lease_end = now + call.lease_ms
    withdraw(ticket, call)
    if quiet then
      more = state_of(call.keys[1])
      wait_for(more, ticket, since, quiet_ms, true)
    else
      tokens, more = grant(ticket, since, true)
    end
  end
  local waits_for, usd = tokens and '' or more.key, tokens and text_of(more or 0) or '0'
  answers[n] = { string.format('%.3f', since), waits_for, tokens or 0, usd, lease_end - call.lease_ms }
end
save_all()
if lanes > 0 then cmd('PUBLISH', KEY.wake_channel, '') end
local at = quiet and quiet_ms or cmd('ZRANGE', KEY.gates, 0, 0, 'WITHSCORES')[2]
return { at and math.max(0, math.ceil(at - now)) or -1, epoch, answers }
