-- room: how many more a limit key takes, and when. Follows state.lua.
--
-- What is reserved is deducted here and nowhere else, so that what one job takes is seen by the next.

local SLOTS_TTL_MS = 31 * 86400000  -- longer than any job
local FLOW_TTL_MS = 30 * 86400000
local SAFETY_MS = 60000       -- the look at a lane or a key that nothing woke
local RAMP_MS = 1000          -- from a cooldown's end to the full concurrency
local RAMP_FROM = 0.5         -- of it, at once, where calls were answered all the while; after an outage, one call
local PATIENCE_MS = 1000      -- no refusal of a probe for so long is as good as an answer
local SOON_MS = 20            -- the shortest time between two looks at a key

-- After a cooldown one call goes first; the others follow when it has been answered, or not refused for a while.
local function half_open(s)
  if (s.half_ms or 0) < (s.cool_ms or 0) then return 1 end
  if now < s.half_ms + PATIENCE_MS then return 0, s.half_ms + PATIENCE_MS end
  s.cool_n, s.slow_ms, s.changed = 0, now, true
end

local function concurrency_room(s)
  local most = s.most
  if most == HUGE then return HUGE end
  local cool_ms, slow_ms = s.cool_ms or 0, s.slow_ms or 0
  local from, ramp = slow_ms > cool_ms and 0 or RAMP_FROM, (now - math.max(slow_ms, cool_ms)) / RAMP_MS
  if ramp < 1 then most = math.max(1, math.floor(most * (from + (1 - from) * ramp))) end
  local free = most - used(s)
  if free > 0 then return free end
  if most < s.most then return 0, now + SOON_MS end
  local lapse = redis.call('ZRANGEBYSCORE', KEY.slots .. s.key, '(' .. now, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
  return 0, tonumber(lapse[2] or s.taken[1] or now + SAFETY_MS) + 1
end

-- When the key may have room again after those that go now have taken it; a release opens it sooner.
local function next_chance(s)
  local at = now + 1000
  if s.rpm then at = math.min(at, now + math.max(SOON_MS, math.ceil(60000 / s.rpm))) end
  if (s.cool_n or 0) > 0 then return math.min(at, now + PATIENCE_MS) end
  if now - math.max(s.slow_ms or 0, s.cool_ms or 0) < RAMP_MS then return math.min(at, now + SOON_MS) end
  return at
end

local function room_now(s)
  if s.limit.paused or s.limit.concurrency == 0 then return 0, now + SAFETY_MS end
  if (s.cool_ms or 0) > now then return 0, s.cool_ms end
  local free, at = HUGE, nil
  if (s.cool_n or 0) > 0 then
    free, at = half_open(s)
    if free == 0 then return 0, at end
    free = free or HUGE
  end
  if s.most < HUGE then
    local slots, lapse_ms = concurrency_room(s)
    if slots <= 0 then return 0, lapse_ms end
    free = math.min(free, slots)
  end
  if s.rpm then
    local requests = math.floor(s.req + 1e-6)
    if requests < 1 then return 0, now + math.ceil((1 - s.req) * 60000 / s.rpm) end
    free = math.min(free, requests)
  end
  return free
end

-- How many more jobs the key takes, whatever their tokens; with none, also when to look again.
local function room(s)
  if not s.free then s.free, s.at = room_now(s) end
  return s.free, s.at
end

-- What was known of its room may hold no more.
local function look_anew(s)
  s.free = nil
end

-- When the key will have so many tokens; nil where it has them.
local function short_until(s, tokens)
  if s.tok < tokens - 1e-6 then return now + math.ceil((tokens - s.tok) * 60000 / s.tpm) end
end

-- Whether the key has the tokens and the dollars; nil, or when to look again where it has not, and how many tokens
-- of the bucket it takes. A call that is larger than the bucket goes when that is full, or when the day is new.
local function short_of(s, tokens, usd)
  if s.tpm then
    local wanted = math.min(tokens, math.max(1, s.tpm * BURST))
    local at = short_until(s, wanted)
    if at then return at, wanted end
  end
  local limit, tomorrow = s.limit, (math.floor(now / DAY_MS) + 1) * DAY_MS
  if limit.tpd and (s.day_tok or 0) + math.min(tokens, limit.tpd) > limit.tpd then return tomorrow end
  if s.budget then
    if not usd and (used(s) > 0 or #s.taken > 0) then return now + 1000 end  -- its price is learned from one call
    usd = usd or 0
    if limit.usd_total and (s.usd or 0) + usd > limit.usd_total then return now + SAFETY_MS end
    if limit.usd_per_day and (s.day_usd or 0) + usd > limit.usd_per_day then return tomorrow end
  end
end

-- What a job is reckoned to use, in tokens and dollars (nil for an unknown price). input, output: see estimate.py.
local function estimate(model, input, output)
  if not input then return 0, 0 end
  if output == 0 then output = model and model.out or 0 elseif output < 0 then output = 0 end
  output = math.ceil(output)
  if not model or model.unpriced == 1 then return input + output, 0 end
  local usd = model.in_usd and input * model.in_usd + output * (model.out_usd or 0)
  return input + output, usd
end

local function spend(s, requests, tokens, usd)
  if not (s.rpm or s.tpm or s.metered) then return end
  if requests < 0 then look_anew(s) end
  if s.rpm then s.req = math.min(math.max(1, s.rpm * BURST), s.req - requests) end
  if s.tpm then
    s.tok = math.max(-s.tpm, math.min(math.max(1, s.tpm * BURST), s.tok - tokens))
  end
  if s.metered then
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

local function text_of(value)
  if value == math.floor(value) then return string.format('%.0f', value) end
  return string.format('%.12g', value)
end

local function save(s)
  if #s.taken > 0 then
    redis.call('ZADD', KEY.slots .. s.key, unpack(s.taken))
    if (s.used or 0) <= #s.taken / 2 or math.random(100) == 1 then  -- a new set, or now and then
      redis.call('PEXPIRE', KEY.slots .. s.key, SLOTS_TTL_MS)
    end
    s.taken = {}
  end
  if s.changed then
    local row = {}
    for _, name in ipairs(FIELDS) do
      if s[name] then
        row[#row + 1] = name
        row[#row + 1] = text_of(s[name])
      end
    end
    if s.cleared then redis.call('HDEL', KEY.flow .. s.key, unpack(s.cleared)) end
    redis.call('HSET', KEY.flow .. s.key, unpack(row))
    redis.call('PEXPIRE', KEY.flow .. s.key, FLOW_TTL_MS)
    s.changed, s.cleared = false, nil
  end
end

local function save_all()
  for _, s in pairs(states) do save(s) end
end
