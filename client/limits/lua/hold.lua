-- hold: prolongs the slots of calls that go on.
-- needs: leases
--
-- ARGV[i]  the ticket of each call (names.lua)
--
-- Returns a list: 1 where all slots of the call are its own for another lease, 0 where one is not: it was taken
-- away, or had lapsed and somebody else has the place. A slot that had lapsed, or was lost with Redis's data, is
-- taken again where it is free.
local calls, kept = {}, {}
for n, ticket in ipairs(ARGV) do
  calls[n] = read_ticket(ticket)
  if not calls[n] then return redis.error_reply('hold: a ticket for each call') end
end
local ends = ends_of(calls)
for n, call in ipairs(calls) do
  kept[n] = prolong(call, ends, now + call.lease_ms) and 1 or 0
end
save_all()
return kept
