-- release: takes calls out of the slots and the queues, and settles what they used.
-- needs: congestion, calls
--
-- ARGV, for each call, three: its ticket (names.lua); since when it has its slots, ms; its use
--   use: what settle (congestion.lua) takes; 'unused': all that was reserved is given back; '': it stands
--
-- Returns a list: 1 where the call had slots, 0 where it only waited or had nothing: then nothing is settled.

local calls = {}
for at = 1, #ARGV, 3 do
  local call = read_ticket(ARGV[at])
  if not call or not tonumber(ARGV[at + 1]) or not ARGV[at + 2] then
    return redis.error_reply('release: a ticket, a moment and its use for each call')
  end
  calls[#calls + 1] = call
end

local function settle_call(call, since, use)
  local found = states_of(call.keys)
  if use == 'unused' then
    local tokens, usd = estimate(found, call.input, call.output)
    use = string.format('1 %d %.12g -1 - 0', tokens, usd or 0)
  end
  settle(found, since, use)
end

local released, freed, seen = {}, {}, {}
for n, call in ipairs(calls) do
  local ticket, since, use = unpack(ARGV, 3 * n - 2, 3 * n)
  local had = false
  for _, key in ipairs(call.keys) do
    had = had or cmd('ZSCORE', KEY.slots .. key, call.id) ~= false
    if not seen[key] then freed[#freed + 1] = key end
    seen[key] = true
  end
  if had and use ~= '' then settle_call(call, tonumber(since), use) end
  withdraw(ticket, call)
  released[n] = had and 1 or 0
end
local lanes = open_waited(freed)
save_all()
if lanes > 0 then cmd('PUBLISH', KEY.wake_channel, '') end
return released
