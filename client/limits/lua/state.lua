-- state: what every script that admits or releases knows of limit keys: their limits, and what has happened to them.
-- needs: clock, names
-- gives: BURST, HUGE, fields_of, facts, anybody_waits, states, most_of, states_of, state_of, used, weight_of
--
-- A key's state is read once a script, changed in memory, and written by `save` (reserve.lua).

local BURST = 0.1             -- of a minute: what a bucket holds
local HUGE = math.huge
local MOST = 1e12             -- of a number, as limit.py's
local LEVEL, NUMBER, MOMENT = 1, 2, 3  -- kinds of numbers: a level may be below 0, and a moment is not far ahead
local NO_LIMIT = {}
local CONVERSATION = { concurrency = 1 }  -- its turns follow one another, unless configured otherwise

local states, patterns = {}, {}
local facts = {}  -- of `configured` and `anybody_waits`: what is known once it was asked

local fields

-- What is kept of a key, and its kinds: in a table that is made when a script first asks for it.
local function fields_of()
  fields = fields or {
    req = LEVEL, tok = LEVEL,
    day = NUMBER, day_req = NUMBER, day_tok = NUMBER, day_usd = NUMBER, usd = NUMBER, eff = NUMBER,
    was = NUMBER, bad = NUMBER, gap_ms = NUMBER, low = NUMBER, ok_n = NUMBER, sure = NUMBER, cool_n = NUMBER,
    down = NUMBER, rpm_seen = NUMBER, tpm_seen = NUMBER, out = NUMBER, in_usd = NUMBER, out_usd = NUMBER,
    unpriced = NUMBER, need = NUMBER, proof = NUMBER, proof_was = NUMBER, odd = NUMBER, hit = NUMBER,
    hits = NUMBER, easy = NUMBER, hang = NUMBER,
    req_ms = MOMENT, tok_ms = MOMENT, probe_ms = MOMENT, up_ms = MOMENT, cut_ms = MOMENT, cool_ms = MOMENT,
    half_ms = MOMENT, slow_ms = MOMENT, proof_ms = MOMENT, seen_ms = MOMENT, since_ms = MOMENT,
  }
  return fields
end

local function configured()
  if facts.configured == nil then facts.configured = cmd('HLEN', KEY.limits) > 0 end
  return facts.configured
end

-- Whether anybody waits for a limit key.
local function anybody_waits()
  if facts.anybody_waits == nil then facts.anybody_waits = cmd('EXISTS', KEY.gates) == 1 end
  return facts.anybody_waits
end

local parsed
do
  local LEAST = { concurrency = 0, rpm = 1e-9, tpm = 1e-9, rpd = 1e-9, tpd = 1e-9, usd_per_day = 0, usd_total = 0, weight = 1 }

  -- A limit, as far as it can be read: what is no table limits nothing, nor does a field that is no such number.
  function parsed(text)
    if not text then return nil end
    local can_be_read, limit = pcall(cjson.decode, text)
    if not can_be_read or type(limit) ~= 'table' then return NO_LIMIT end
    for name, value in pairs(limit) do
      local least = LEAST[name]
      if least and not (type(value) == 'number' and value >= least and value <= MOST) then limit[name] = nil end
    end
    limit.paused = limit.paused == true or nil
    return limit
  end
end

local function by_pattern(key)
  local prefix = string.match(key, '^(.*:)')
  while prefix do
    if patterns[prefix] == nil then
      patterns[prefix] = configured() and parsed(cmd('HGET', KEY.limits, prefix .. '*'))
        or prefix == 'conversation:' and CONVERSATION or false
    end
    if patterns[prefix] then return patterns[prefix] end
    prefix = string.match(prefix, '^(.*:).*:$')
  end
  return NO_LIMIT
end

-- The most that may be in flight, now that the provider has had its say.
local function most_of(s)
  local ceiling = s.limit.concurrency or HUGE
  return s.eff and math.min(ceiling, math.max(1, math.floor(s.eff))) or ceiling
end

local function refilled(level, at, per_minute)
  local full = math.max(1, per_minute * BURST)
  return level and math.min(full, level + math.max(0, now - (at or now)) * per_minute / 60000) or full
end

local function lower(a, b) return a and b and math.min(a, b) or a or b end

local function read_flow(s)
  local row, kinds = cmd('HGETALL', KEY.flow .. s.key), fields_of()
  for i = 1, #row, 2 do
    local kind = kinds[row[i]]
    if kind then
      s[row[i]] = within(row[i + 1], kind == LEVEL and -MOST or 0, kind == MOMENT and now + 7200000 or MOST)
    end
  end
  if (s.rpm_seen or 1) < 1 then s.rpm_seen = nil end  -- no provider tells such a rate, or asks a dollar a token
  if (s.tpm_seen or 1) < 1 then s.tpm_seen = nil end
  if (s.in_usd or 0) > 1 or (s.out_usd or 0) > 1 then s.in_usd = nil end
  if (s.out or 0) > MOST_TOKENS then s.out = nil end
  s.rpm, s.tpm = lower(s.limit.rpm, s.rpm_seen), lower(s.limit.tpm, s.tpm_seen)
  if s.rpm then s.req, s.req_ms = refilled(s.req, s.req_ms, s.rpm), now end
  if s.tpm then s.tok, s.tok_ms = refilled(s.tok, s.tok_ms, s.tpm), now end
  s.need = s.need and s.tpm and math.min(s.need, math.max(1, s.tpm * BURST)) or nil
  local today = math.floor(now / DAY_MS)
  if s.day ~= today then s.day, s.day_req, s.day_tok, s.day_usd = today, 0, 0, 0 end
end

local function new_state(key, text)
  local limit = configured() and parsed(text) or by_pattern(key)
  local s = { key = key, limit = limit, model = provider_of(key) ~= nil, taken = {} }
  s.budget = limit.usd_per_day or limit.usd_total
  s.metered = limit.rpm or limit.tpm or limit.rpd or limit.tpd or s.budget
  if s.model or s.metered then read_flow(s) end
  s.most = most_of(s)
  s.limited = s.most < HUGE or s.metered or s.rpm or s.tpm or limit.paused
    or (s.cool_ms or 0) > now or (s.cool_n or 0) > 0
  states[key] = s
  return s
end

-- The states of several keys, with one read for those that are new.
local function states_of(keys)
  local found, new = {}, {}
  for i, key in ipairs(keys) do
    found[i] = states[key]
    if not found[i] then new[#new + 1] = key end
  end
  if #new > 0 then
    local texts = configured() and cmd('HMGET', KEY.limits, unpack(new)) or {}
    for i, key in ipairs(new) do new_state(key, texts[i]) end
    for i, key in ipairs(keys) do found[i] = states[key] end
  end
  return found
end

local function state_of(key) return states_of({ key })[1] end

local function used(s)
  if not s.used then s.used = cmd('ZCOUNT', KEY.slots .. s.key, '(' .. now, now + 31 * DAY_MS) end
  return s.used
end

-- What a lane's jobs get a turn, by the weights of its keys.
local function weight_of(found)
  local weight = 1
  for _, s in ipairs(found) do weight = math.max(weight, math.min(s.limit.weight or 1, 100)) end
  return weight
end
