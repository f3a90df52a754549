-- room: how many more a limit key takes, and when; where it takes none, also why (explain.lua tells it).
-- needs: state
-- gives: SAFETY_MS, RAMP_MS, PATIENCE_MS, SOON_MS, room, look_anew, short_until, short_of, estimate

local SAFETY_MS = 60000       -- the look at a lane or a key that nothing woke
local RAMP_MS = 1000          -- from a cooldown's end to the full concurrency
local PATIENCE_MS = 1000      -- no refusal of a probe for so long is as good as an answer
local SOON_MS = 20            -- the shortest time between two looks at a key

-- After a cooldown one call goes first; the others follow when it has been answered, or not refused for a while: longer
-- than the last connection that failed took to do so.
local function half_open(s)
  if (s.half_ms or 0) < (s.cool_ms or 0) then return 1 end
  local patient_ms = (s.half_ms or 0) + PATIENCE_MS + math.min(s.hang or 0, SAFETY_MS)
  if now < patient_ms then return 0, patient_ms end
  s.cool_n, s.slow_ms, s.changed = 0, now, true
end

local function concurrency_room(s)
  local RAMP_FROM = 0.5         -- of it, at once, where calls were answered all the while; after an outage, one call
  local most = s.most
  if most == HUGE then return HUGE end
  local cool_ms, slow_ms = s.cool_ms or 0, s.slow_ms or 0
  local from, ramp = slow_ms > cool_ms and 0 or RAMP_FROM, (now - math.max(slow_ms, cool_ms)) / RAMP_MS
  if ramp < 1 then most = math.max(1, math.floor(most * (from + (1 - from) * ramp))) end
  local free = most - used(s)
  if free > 0 then return free end
  s.most_now = most
  if most < s.most then return 0, now + SOON_MS, 'slots' end
  local lapse = cmd('ZRANGEBYSCORE', KEY.slots .. s.key, '(' .. now, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
  return 0, tonumber(lapse[2] or s.taken[1] or now + SAFETY_MS) + 1, 'slots'
end

-- When the key may have room again after those that go now have taken it; a release opens it sooner.
local function next_chance(s)
  local at = now + 1000
  if s.rpm then at = math.min(at, now + math.max(SOON_MS, math.ceil(60000 / s.rpm))) end
  if (s.cool_n or 0) > 0 then return math.min(at, now + PATIENCE_MS) end
  if now - math.max(s.slow_ms or 0, s.cool_ms or 0) < RAMP_MS then return math.min(at, now + SOON_MS) end
  return at
end

local function tomorrow_ms() return (math.floor(now / DAY_MS) + 1) * DAY_MS end

local function room_now(s)
  if s.limit.paused then return 0, now + SAFETY_MS, 'paused' end
  if s.limit.concurrency == 0 then return 0, now + SAFETY_MS, 'closed' end
  if (s.cool_ms or 0) > now then return 0, s.cool_ms, 'cooldown' end
  local free, at = HUGE, nil
  if (s.cool_n or 0) > 0 then
    free, at = half_open(s)
    if free == 0 then return 0, at, 'probe' end
    free = free or HUGE
  end
  if s.most < HUGE then
    local slots, lapse_ms, why = concurrency_room(s)
    if slots <= 0 then return 0, lapse_ms, why end
    free = math.min(free, slots)
  end
  if s.rpm then
    local requests = math.floor(s.req + 1e-6)
    if requests < 1 then return 0, now + math.ceil((1 - s.req) * 60000 / s.rpm), 'requests' end
    free = math.min(free, requests)
  end
  if s.limit.rpd then
    local requests = math.floor(s.limit.rpd - (s.day_req or 0))
    if requests < 1 then return 0, tomorrow_ms(), 'rpd' end
    free = math.min(free, requests)
  end
  return free
end

-- How many more jobs the key takes, whatever their tokens; with none, also when to look again.
local function room(s)
  if not s.free then s.free, s.at, s.why = room_now(s) end
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

-- Whether the key has the tokens and the dollars; nil, or when to look again where it has not, how many tokens of the
-- bucket it takes, and why. A call that is larger than the bucket goes when that is full, or when the day is new.
local function short_of(s, tokens, usd)
  if s.tpm then
    local wanted = math.min(tokens, math.max(1, s.tpm * BURST))
    local at = short_until(s, wanted)
    if at then return at, wanted, 'tokens' end
  end
  local limit, tomorrow = s.limit, tomorrow_ms()
  if limit.tpd and (s.day_tok or 0) + math.min(tokens, limit.tpd) > limit.tpd then return tomorrow, nil, 'tpd' end
  if s.budget then
    local cost = usd or 0
    if limit.usd_total and (s.usd or 0) + cost > limit.usd_total then return now + SAFETY_MS, nil, 'usd_total' end
    if limit.usd_per_day and (s.day_usd or 0) + cost > limit.usd_per_day then return tomorrow, nil, 'usd_per_day' end
    if not usd and (used(s) > 0 or #s.taken > 0) then return now + 1000, nil, 'price' end  -- learned from one call
  end
end

-- What a job under these keys is reckoned to use, in tokens and dollars (nil for an unknown price). input, output:
-- see estimate.py.
local function estimate(found, input, output)
  if not input then return 0, 0 end
  local model = found[1] and found[1].model and found[1]
  if output == 0 then output = model and model.out or 0 elseif output < 0 then output = 0 end
  output = math.ceil(output)
  if not model or model.unpriced == 1 then return input + output, 0 end
  local usd = model.in_usd and input * model.in_usd + output * (model.out_usd or 0)
  return input + output, usd
end
