-- turns: serves the lanes that are due in turn, each its fair share.
-- needs: detour, conversations, talks
-- gives: MAX_LANES, go_round

local MAX_LANES = 64      -- looked at in one claim, so that a claim costs the same whatever waits
local MAX_TAKEN = 500     -- from one lane at once: three times as many keys fit into one call

-- A lane's limit keys, and what is to be asked of them.
local function survey(lane)
  local found = states_of(keys_of(lane, claim.aliases))
  found.weight, found.names, found.metered = weight_of(found), write_names(found), {}
  for _, s in ipairs(found) do
    found.limited = found.limited or s.limited
    if s.tpm or s.limit.tpd or s.budget then found.metered[#found.metered + 1] = s end
  end
  return found
end

-- How many at most a turn may take, so that what is free is shared by the lanes that are due.
local function free_of(found)
  local free = HUGE
  if found.limited then
    for _, s in ipairs(found) do if s.limited then free = math.min(free, (room(s))) end end
  end
  return free
end

-- When a lane deserves its next look, now that it has been served; nil for never.
local function next_look(visit, place)
  local HELD_MS = 5000      -- the look at a lane that an earlier turn of its conversation holds, if nothing wakes it
  local first = cmd('ZRANGEBYSCORE', visit.lane, 0, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)[2]
  if not first or tonumber(first) >= FACT.elsewhere_ms then return end
  if tonumber(first) > due_ms then return first end
  if visit.held and not passed_on[visit.lane] then return now + HELD_MS end
  local turns = visit.got / visit.found.weight
  local turn_ms = visit.since + (now - visit.since) * turns
  if turns >= 1 then turn_ms = math.min(now, now - 0.5 / turns + place / 2048) end  -- behind those who got less
  if not visit.shut then return turn_ms end
  wait_for(visit.shut, visit.lane, turn_ms, visit.at, visit.got == 0, visit.need)
  return now + (visit.others and LOOK_MS or SAFETY_MS)
end

local function reschedule(visits)
  local looks, empty = {}, {}
  for place, visit in ipairs(visits) do
    local at = next_look(visit, place)
    if at then
      looks[#looks + 1] = at
      looks[#looks + 1] = visit.lane
    else
      empty[#empty + 1] = visit.lane
    end
  end
  if #looks > 0 then cmd('ZADD', claim.lanes, unpack(looks)) end
  if #empty > 0 then cmd('ZREM', claim.lanes, unpack(empty)) end
end

-- Serves the lane of a visit, up to its share of what is wanted and of what is free, by its weight among the rest.
local function call_on(visit, share, rest)
  local found, got, quota, upto = visit.found, 0, 0, due_ms
  if turns_of(visit.lane)[1] then
    upto = turn_of(visit.lane)
    visit.held = not upto
    if visit.held then return false end
    found.turns = talks_of(found)
  end
  if found.limited then visit.shut, visit.at, visit.need = first_shut(found, visit.since, 0, 0) end
  if not visit.shut then
    local free = free_of(found)
    local fair = math.max(1, math.min(share, free / rest) * found.weight)
    quota = math.min(math.ceil(fair), free, claim.want, MAX_TAKEN)
    if upto < due_ms then quota = math.min(quota, 1) end
    got, visit.shut, visit.at, visit.need, visit.why = serve(visit.lane, quota, upto, found)
    if got > 0 then pass_on(visit.lane) end
  end
  visit.got, claim.want = visit.got + got, claim.want - got
  if visit.shut then detour(visit, upto) end
  if visit.shut and visit.got == 0 then  -- nobody overtakes it in this claim
    visit.shut.oldest = math.min(oldest(visit.shut), visit.since)
  end
  return got >= quota and not visit.shut
end

-- Reads what is known of all keys of these lanes, with one command for their limits.
local function read_ahead(turn)
  local keys, had = {}, {}
  for at = 1, math.min(claim.want, #turn) do
    for _, key in ipairs(keys_of(turn[at].lane, claim.aliases)) do
      if not had[key] then keys[#keys + 1], had[key] = key, true end
    end
  end
  states_of(keys)
end

-- One turn of the lanes that are due. Returns how many there were.
local function go_round()
  local due = cmd('ZRANGEBYSCORE', claim.lanes, '-inf', now, 'WITHSCORES', 'LIMIT', 0, MAX_LANES)
  local turn, seen = {}, {}
  for i = 1, #due, 2 do
    if is_lane(due[i]) and lanes_of(due[i]) == claim.lanes then
      turn[#turn + 1] = { lane = due[i], since = tonumber(due[i + 1]), got = 0 }
    else  -- no lane, or a named queue, put there by the version before: its workers alone serve it
      cmd('ZREM', claim.lanes, due[i])
    end
  end
  read_ahead(turn)
  while claim.want > 0 and #turn > 0 do
    local again, rest, share = {}, 0, nil
    for at, visit in ipairs(turn) do
      if not visit.found and at <= claim.want then  -- more are not served, unless of these some are blocked
        visit.found = survey(visit.lane)
      end
      visit.weight = visit.found and visit.found.weight or 1
      rest = rest + visit.weight
    end
    share = claim.want / rest
    for _, visit in ipairs(turn) do
      if claim.want <= 0 then break end  -- the others keep their place in the queue of lanes
      visit.found = visit.found or survey(visit.lane)
      if not visit.seen then seen[#seen + 1], visit.seen = visit, true end
      if call_on(visit, share, rest) then again[#again + 1] = visit end
      rest = rest - visit.weight
    end
    turn = again
  end
  reschedule(seen)
  return #due / 2
end
