-- proof: whether a refusal comes from load, or concerns its own call alone.
-- needs: reserve
-- gives: JITTER, prove, is_proven, forgive, alone_ms, probed_ms
--
-- A refusal does not come from load where, a moment ago, no fewer calls were in flight and were answered (`proof`). Then
-- its own call waits, and nothing else does. `odd` counts those that answers have not outweighed: too many are load.

local PROOF_MS, PROOF_GAP_MS = 10000, 200       -- how long what was answered counts, and how often it is looked at
local PROOF_MORE = 1.05       -- of what was answered, and one more: it is looked at now and then only
local ODD_MOST, ODD_FORGIVEN = 3, 1 / 8   -- refusals; what an answer takes off them
local ALONE_MS, ALONE_MOST_MS = 500, 2000       -- a call's own wait; one that is asked to wait longer is not alone
local JITTER = 0.1

-- Takes down that a call was answered while `before` were in flight.
local function prove(s, before)
  if now - (s.proof_ms or 0) >= PROOF_MS then
    s.proof_was, s.proof, s.proof_ms = now - (s.proof_ms or 0) < 2 * PROOF_MS and s.proof or 0, before, now
  end
  s.proof, s.seen_ms, s.changed = math.max(s.proof or 0, before), now, true
end

-- Where it is known what is too many, to the call; else roughly, as answers are looked at now and then only.
local function is_proven(s, before)
  if now - (s.proof_ms or 0) >= 2 * PROOF_MS then return false end
  local most = math.max(s.proof or 0, s.proof_was or 0)
  if s.bad then return before < s.bad and before <= most end
  return before <= most * PROOF_MORE + 1
end

local function waits_alone_ms(asked_ms) return math.ceil(math.max(asked_ms, ALONE_MS) * (1 + JITTER * math.random())) end

-- How long a call waits, alone, that was refused as one more than usual were let go (`up_ms`): that has told what it was
-- to tell, and the limit is what it was. nil for any other.
local function probed_ms(s, claimed, asked_ms, before)
  if asked_ms > ALONE_MOST_MS or (s.cool_n or 0) > 0 or not s.up_ms or not s.bad or claimed < s.up_ms
    or before < s.bad - 1 then return nil end
  s.eff, s.changed = math.max(1, s.bad - 1), true
  forget(s, 'up_ms')
  s.most = most_of(s)
  return waits_alone_ms(asked_ms)
end

-- How long a call that was refused for no load waits, alone; nil where the refusal concerns all.
local function alone_ms(s, claimed, asked_ms, before)
  if asked_ms > ALONE_MOST_MS or (s.cool_n or 0) > 0 or claimed <= (s.cut_ms or 0) or not is_proven(s, before) then
    return nil
  end
  s.odd, s.changed = (s.odd or 0) + 1, true
  if s.bad then  -- calls that were about to be refused may have been counted, too
    s.proof, s.proof_was = math.min(s.proof or 0, before - 1), math.min(s.proof_was or 0, before - 1)
  end
  if s.odd >= ODD_MOST then return nil end
  return waits_alone_ms(asked_ms)
end

-- An answer makes up for some of the refusals before it.
local function forgive(s)
  if (s.odd or 0) > 0 then s.odd, s.changed = math.max(0, s.odd - ODD_FORGIVEN), true end
end
