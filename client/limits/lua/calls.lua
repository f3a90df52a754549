-- calls: the slots and the places of calls of their own, by their tickets.
-- needs: gates
-- gives: held_until, withdraw

-- When the first of a call's leases ends; 0 where it does not have all its slots.
local function held_until(call)
  local first = HUGE
  for _, key in ipairs(call.keys) do
    first = math.min(first, tonumber(cmd('ZSCORE', KEY.slots .. key, call.id) or 0))
  end
  return first
end

-- Takes a call out of the slots and the queues. Returns how many slots it had.
local function withdraw(ticket, call)
  local had = 0
  for _, key in ipairs(call.keys) do
    local s, slot = states[key], cmd('ZREM', KEY.slots .. key, call.id)
    had = had + slot
    if s and slot == 1 then
      save(s)  -- what others have taken counts, too
      s.used = nil
      look_anew(s)
    end
    if anybody_waits() and cmd('ZREM', KEY.blocked .. key, ticket) == 1 and s then s.oldest = nil end
  end
  return had
end
