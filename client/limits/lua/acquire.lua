-- acquire: slots for calls of their own, at once or in their turn. Follows room, congestion and gates.
-- KEYS[1]  epoch: string, '{name} {quarantine's end, ms}'
-- ARGV[1]  the epoch this process knows, or ''  ARGV[2]  channel that wakes workers
-- then, for each call, two: its ticket (gates.lua); when it asked first, as it was told, or ''
-- Returns ms until a key that is waited for deserves a look (-1: none does), the epoch, and for each call: when it
-- asked first, the key it waits for ('' where it has its slots), tokens and dollars reserved, since when (ms).
-- To ask again changes nothing. Whoever asks, or nobody in particular, opens the keys that are due.
local epoch_key, known, wake = KEYS[1], ARGV[1], ARGV[2]
local MAX_GATES, EPOCH_TTL_MS, QUARANTINE_MS = 32, 7 * 86400000, 2000  -- as claim.lua
local calls = {}
for i = 3, #ARGV, 2 do calls[#calls + 1] = read_ticket(ARGV[i]) end
if #KEYS ~= 1 or not wake or #calls ~= (#ARGV - 2) / 2 then
  return redis.error_reply('acquire: a key, two arguments, and a ticket and a moment for each call')
end

local epoch, quiet_ms = string.match(redis.call('GET', epoch_key) or '', '^(%S+) (%S+)$')
local lost = known ~= '' and known ~= epoch  -- Redis has lost its data: who held slots takes them back first
if not epoch or lost and quiet_ms == '0' or math.random(100) == 1 then
  epoch, quiet_ms = epoch or string.format('%.0f', now_us), lost and text_of(now + QUARANTINE_MS) or quiet_ms or '0'
  redis.call('SET', epoch_key, epoch .. ' ' .. quiet_ms, 'PX', EPOCH_TTL_MS)
end
local quiet, lanes = tonumber(quiet_ms) > now, 0
for _, key in ipairs(quiet and {} or redis.call('ZRANGEBYSCORE', KEY.gates, '-inf', now, 'LIMIT', 0, MAX_GATES)) do
  lanes = lanes + open(state_of(key))
end
save_all()

local answers = {}
for n, call in ipairs(calls) do
  local ticket, since = ARGV[2 * n + 1], tonumber(ARGV[2 * n + 2]) or (now_us + n - 1) / 1000
  local tokens, more, lease_end = nil, nil, held_until(call)
  if lease_end > now then  -- asked twice
    tokens, more = estimate_of(call, states_of(call.keys))
  else
    lease_end = now + call.lease_ms
    withdraw(ticket, call)
    if quiet then
      more = state_of(call.keys[1])
      wait_for(more, ticket, since, tonumber(quiet_ms), true)
    else
      tokens, more = grant(ticket, since, true)
    end
  end
  local waits_for, usd = tokens and '' or more.key, tokens and text_of(more or 0) or '0'
  answers[n] = { string.format('%.3f', since), waits_for, tokens or 0, usd, lease_end - call.lease_ms }
end
save_all()
if lanes > 0 then redis.call('PUBLISH', wake, '') end
local at = quiet and quiet_ms or redis.call('ZRANGE', KEY.gates, 0, 0, 'WITHSCORES')[2]
return { at and math.max(0, math.ceil(at - now)) or -1, epoch, answers }
