-- leases: prolongs the slots of calls that go on. A call has an `id` and its `keys`.
-- needs: reserve
-- gives: ends_of, prolong

-- When the slots of these calls end: by key, then id. 0 where it was taken away, -1 where there is none.
local function ends_of(calls)
  local ids, ends = {}, {}
  for _, call in ipairs(calls) do
    for _, key in ipairs(call.keys) do
      ids[key] = ids[key] or {}
      table.insert(ids[key], call.id)
    end
  end
  for key, names in pairs(ids) do
    ends[key] = {}
    for i, at in ipairs(cmd('ZMSCORE', KEY.slots .. key, unpack(names))) do
      ends[key][names[i]] = at and tonumber(at) or -1
    end
  end
  return ends
end

-- Whether each slot is still held, or had lapsed and is free yet: then all of them end at `lease_end`.
local function prolong(call, ends, lease_end)
  local found = states_of(call.keys)
  for _, s in ipairs(found) do
    local at = ends[s.key][call.id]
    if at <= now and (at == 0 or s.most < HUGE and used(s) >= s.most) then return false end
  end
  for _, s in ipairs(found) do
    if ends[s.key][call.id] <= now and s.used then s.used = s.used + 1 end
    s.taken[#s.taken + 1] = lease_end
    s.taken[#s.taken + 1] = call.id
  end
  return true
end
