-- congestion: what a provider's refusals and answers do to a model's effective concurrency.
-- needs: proof
-- gives: settle
--
-- A refusal cools the model down, fleet-wide, and cuts what may be in flight, once a round: calls claimed before
-- the cut are not held against it again. Where several were refused, or one twice at the same number, calls that were
-- in flight then and are answered tell how many the provider takes; that number + 1 is `bad`. Answers raise the limit
-- to just below `bad`, one each; beyond it only seldom, as a probe; where nothing is known to be bad, up to what was
-- in flight before by one each, then by one a round or a twentieth, whichever is more.
-- A provider that cannot be reached cools the model down, too. It says nothing of how many it takes.

local SETTLE = 0.95           -- of what is taken
local FIRST_GAP_MS, LAST_GAP_MS = 3000, 240000  -- between probes, twice as long each time: a refused one costs a call
local PROVEN_MS = 1000        -- a probe that is not refused for so long has succeeded
local DOWN_PART, DOWN_MOST_MS = 1 / 30, 60000   -- of the time that all is refused, at least: asked ever more rarely
local STORM = 0.1             -- of what was in flight, refused in one round: what the provider takes can be counted
local ASKED_MOST_MS = 3600000  -- as retry_after.py's: a longer wait is asked for again rather than believed

local function cool_down(s, asked_ms)
  local COOL_MS, COOL_MOST_MS = 500, 2000         -- where the provider does not say how long; doubled each time
  local wait = math.min(COOL_MOST_MS, COOL_MS * 2 ^ math.min((s.cool_n or 1) - 1, 10))
  wait = math.max(wait, math.min(DOWN_MOST_MS, (now - (s.since_ms or now)) * DOWN_PART))
  if asked_ms > 0 then wait = math.min(asked_ms, ASKED_MOST_MS) end
  s.cool_ms = math.max(s.cool_ms or 0, now + math.ceil(wait * (1 + JITTER * math.random())))
end

-- The provider takes `count` at once, it seems; where calls ended while they were counted, it may be a few more.
local function settle_near(s, count)
  s.eff, s.bad = math.max(1, count * SETTLE), count + 1
  s.gap_ms = (s.ok_n > 1 or s.easy == 1) and FIRST_GAP_MS or math.max(s.gap_ms or 0, FIRST_GAP_MS)
  s.probe_ms = now + s.gap_ms
  forget(s, 'was')
end

-- Whether what was refused since the cut tells how many the provider takes.
local function is_counted(s) return (s.hits or 0) >= math.max(2, (s.hit or 0) * STORM) end

-- The first refusal of a round, while `before` were in flight.
local function cut(s, before, overloaded)
  local ALIKE, ALIKE_MS = 0.05, 60000   -- two refusals at numbers, and at times, so near are of one limit
  local CUT = 0.7               -- of what was in flight, until it is known how many are taken
  local working = (s.cool_n or 0) == 0  -- something was answered since the last refusal
  s.cut_ms, s.cool_n, s.down, s.odd = now, (s.cool_n or 0) + 1, overloaded and 1 or 0, 0
  if not working then return end
  s.easy = not s.bad and is_proven(s, before) and 1 or 0  -- so many were answered a moment ago
  local near = s.hit and math.abs(before - s.hit) <= math.max(1, s.hit * ALIKE) and now - (s.since_ms or 0) < ALIKE_MS
  s.hits, s.hit, s.since_ms = (near or s.bad) and before + 1 or 1, before, now
  s.was = math.max(s.was or 1, math.min(s.most, before))
  s.eff, s.low, s.ok_n, s.sure = math.max(1, math.min(s.most, before) * CUT), before - 1, 0, 0
  forget(s, 'bad', 'up_ms')
end

-- A call claimed at `claimed` was turned away, while `before` were in flight, itself among them. Returns how long it
-- waits alone; nil where all wait.
local function refused(s, claimed, asked_ms, before, overloaded)
  local alone = probed_ms(s, claimed, asked_ms, before) or not overloaded and alone_ms(s, claimed, asked_ms, before)
  if alone then return alone end
  s.changed = true
  if claimed > (s.cut_ms or 0) then
    cut(s, before, overloaded)
  elseif s.low and s.ok_n then
    s.low, s.hits = math.min(s.low, before - 1 + s.ok_n), (s.hits or 0) + 1
    if s.ok_n > 0 and is_counted(s) then settle_near(s, s.low) end
  end
  cool_down(s, asked_ms)
  s.most = most_of(s)
  look_anew(s)
end

-- A call claimed at `claimed` was never sent: its connection failed after `took_ms`. Returns as `refused` does.
local function unreached(s, claimed, took_ms, before)
  local alone = alone_ms(s, claimed, 0, before)
  if alone or claimed <= (s.cut_ms or 0) then return alone end  -- of the same round
  if (s.cool_n or 0) == 0 then s.since_ms = now end
  if s.hit then forget(s, 'hit', 'low', 'ok_n', 'sure') end  -- counted by an older cut
  s.cut_ms, s.cool_n, s.down, s.odd = now, (s.cool_n or 0) + 1, 2, 0  -- neither full nor overloaded
  s.hang, s.changed = math.min(took_ms, DOWN_MOST_MS), true  -- ms
  cool_down(s, 0)
  look_anew(s)
end

local function raised(s, before)
  local eff, bad = s.eff, s.bad
  if before < math.floor(eff) - 1 then return eff end  -- the limit is not used
  if not bad and eff < (s.was or 0) then return math.min(s.was, eff + 1) end
  if not bad then return eff + math.max(1, eff / 20) / eff end
  if eff < bad - 1 then return math.min(bad - 1, eff + 1) end
  if eff < bad then
    if now < (s.probe_ms or 0) then return eff end
    s.up_ms, s.gap_ms = now, math.min(LAST_GAP_MS, 2 * (s.gap_ms or FIRST_GAP_MS))
    s.probe_ms = now + s.gap_ms
    return bad
  end
  if before >= bad and now - (s.up_ms or now) >= PROVEN_MS then forget(s, 'bad', 'up_ms', 'gap_ms') end
  return eff
end

-- A call claimed at `claimed` was answered; `before` were in flight, itself among them.
local function answered(s, claimed, before)
  -- A provider that is overloaded may still end what it began; one that limits calls may be asked again.
  if (s.cool_n or 0) > 0 and (claimed > (s.cut_ms or 0) or (s.down or 0) == 0) then
    if s.down == 1 and s.cool_n > 1 then  -- it was away, not full
      s.was = math.max(s.was or 1, s.hit or 1)
      forget(s, 'bad', 'low', 'ok_n', 'sure')
    end
    if s.hang then forget(s, 'hang') end
    s.cool_n, s.slow_ms, s.changed = 0, now, true
    look_anew(s)
  end
  forgive(s)
  if now - (s.seen_ms or 0) >= PROOF_GAP_MS then prove(s, before) end
  if not s.eff then return end
  s.changed = true
  if s.low and claimed <= (s.cut_ms or 0) then  -- it was in flight at the refusal: so many are taken
    s.ok_n = (s.ok_n or 0) + 1
    if s.sure ~= 1 and is_counted(s) then settle_near(s, s.low) end
    if is_counted(s) then s.sure = 1 end
  elseif claimed > (s.cut_ms or 0) then
    if s.low then forget(s, 'low', 'ok_n', 'sure') end
    s.eff = raised(s, before)
    look_anew(s)
    if s.eff >= (s.limit.concurrency or HUGE) then forget(s, 'eff', 'bad', 'was', 'probe_ms', 'gap_ms', 'up_ms') end
  end
  s.most = most_of(s)
end

-- What a call really used (client/wire/use.py), given back or taken for all its keys.
-- Returns how long a refused call waits alone, ms; nil for any other.
local function settle(found, claimed, words)
  local requests, tokens, usd, output, signal, asked_ms =
    string.match(words, '^(%S+) (%S+) (%S+) (%S+) (%S+) (%S+)$')
  output = tonumber(output)
  if requests ~= '0' or tokens ~= '0' or usd ~= '0' then
    for _, s in ipairs(found) do spend(s, -requests, -tokens, -usd) end
  end
  local model = found[1]
  if not model or not model.model then return end
  if output >= 0 then
    model.out = model.out and model.out + (output - model.out) / 20 or output
    model.changed = true
  end
  if signal == 'refused' or signal == 'overloaded' then
    return refused(model, claimed, tonumber(asked_ms), used(model), signal == 'overloaded')
  elseif signal == 'unreached' then
    return unreached(model, claimed, tonumber(asked_ms), used(model))
  elseif signal == 'ok' and (model.eff or (model.cool_n or 0) > 0 or (model.odd or 0) > 0
      or now - (model.seen_ms or 0) >= PROOF_GAP_MS) then
    answered(model, claimed, used(model))
  end
end
