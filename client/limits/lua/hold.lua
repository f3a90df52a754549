-- hold: prolongs the slots of calls that go on. Follows room, congestion and gates.
-- KEYS     none of its own
-- ARGV     the ticket of each call (gates.lua)
-- Returns a list: 1 where all slots of the call are its own for another lease, 0 where one is not: it was taken
-- away, or had lapsed and somebody else has the place. A slot that had lapsed, or was lost with Redis's data, is
-- taken again where it is free.
local calls, ids, ends = {}, {}, {}
for n, ticket in ipairs(ARGV) do
  local call = read_ticket(ticket)
  if not call then return redis.error_reply('hold: a ticket for each call') end
  calls[n] = call
  for _, key in ipairs(call.keys) do
    ids[key] = ids[key] or {}
    table.insert(ids[key], call.id)
  end
end
for key, names in pairs(ids) do
  ends[key] = {}
  for i, at in ipairs(redis.call('ZMSCORE', KEY.slots .. key, unpack(names))) do
    ends[key][names[i]] = at and tonumber(at) or -1  -- 0 where it was taken away
  end
end

local function keep(s, id)  -- as renew.lua
  local at = ends[s.key][id]
  return at > now or at ~= 0 and (s.most == HUGE or used(s) < s.most)
end

local kept = {}
for n, call in ipairs(calls) do
  local found = states_of(call.keys)
  kept[n] = 1
  for _, s in ipairs(found) do
    if not keep(s, call.id) then kept[n] = 0 end
  end
  for _, s in ipairs(kept[n] == 1 and found or {}) do
    if ends[s.key][call.id] <= now and s.used then s.used = s.used + 1 end
    s.taken[#s.taken + 1] = now + call.lease_ms
    s.taken[#s.taken + 1] = call.id
  end
end
save_all()
return kept
