-- reserve: takes slots, requests, tokens and dollars, and writes the keys' states.
-- needs: room
-- gives: SLOTS_TTL_MS, spend, take, forget, save, save_all
--
-- What is reserved is deducted here and nowhere else, so that what one job takes is seen by the next.

local SLOTS_TTL_MS = 31 * DAY_MS  -- longer than any job
local FLOW_TTL_MS = 30 * DAY_MS

local function spend(s, requests, tokens, usd)
  if not (s.rpm or s.tpm or s.metered) then return end
  if requests < 0 then look_anew(s) end
  if s.rpm then s.req = math.min(math.max(1, s.rpm * BURST), s.req - requests) end
  if s.tpm then
    s.tok = math.max(-s.tpm, math.min(math.max(1, s.tpm * BURST), s.tok - tokens))
  end
  if s.metered then
    s.day_req = math.max(0, (s.day_req or 0) + requests)
    s.day_tok = math.max(0, (s.day_tok or 0) + tokens)
    s.day_usd = math.max(0, (s.day_usd or 0) + usd)
    s.usd = math.max(0, (s.usd or 0) + usd)
  end
  s.changed = true
end

-- Gives the holder a slot of the key, until the lease ends.
local function take(s, holder, lease_end, tokens, usd)
  s.taken[#s.taken + 1] = lease_end
  s.taken[#s.taken + 1] = holder
  if s.used then s.used = s.used + 1 end
  if s.free then s.free = s.free > 1 and s.free - 1 or nil end
  if (s.cool_n or 0) > 0 then s.half_ms, s.changed = now, true end
  spend(s, 1, tokens, usd or 0)
end

local function forget(s, ...)
  s.changed = true
  for _, name in ipairs({ ... }) do
    s[name] = nil
    s.cleared = s.cleared or {}
    s.cleared[#s.cleared + 1] = name
  end
end

local function save(s)
  if #s.taken > 0 then
    cmd('ZADD', KEY.slots .. s.key, unpack(s.taken))
    if (s.used or 0) <= #s.taken / 2 or math.random(100) == 1 then  -- a new set, or now and then
      cmd('PEXPIRE', KEY.slots .. s.key, SLOTS_TTL_MS)
    end
    s.taken = {}
  end
  if s.changed then
    local row = {}
    for name in pairs(fields_of()) do
      if s[name] then
        row[#row + 1] = name
        row[#row + 1] = text_of(s[name])
      end
    end
    if s.cleared then cmd('HDEL', KEY.flow .. s.key, unpack(s.cleared)) end
    cmd('HSET', KEY.flow .. s.key, unpack(row))
    cmd('PEXPIRE', KEY.flow .. s.key, FLOW_TTL_MS)
    s.changed, s.cleared = false, nil
  end
end

local function save_all()
  for _, s in pairs(states) do save(s) end
end
