-- detour: hands out the jobs of a lane whose model takes no calls for long, where they can go on to another model.
-- needs: serve
-- gives: LOOK_MS, detour
--
-- They hold no slot, as they make no call: their worker moves them into the lane of the next model.

local LOOK_MS = 1000      -- between two looks at a lane where such jobs wait
local MAX_HEADS = 500     -- of payloads, read in one look; where more wait, some of them
local HEAD_BYTES = 64     -- what a payload reserves, and whether it has another way (reservation.py)

-- For how long in all the model of a visit will have taken nothing once it takes calls again, ms, and why; nil where it
-- only has no room. `since` its jobs wait for it.
local function away(visit, since)
  local s, why, _ = visit.shut, visit.why
  if room(s) < 1 then why = s.why elseif not why then _, _, why = short_of(s, 0, 0) end
  if why == 'cooldown' or why == 'probe' then
    return math.max(s.cool_ms, now) - (s.since_ms or now), why
  elseif why == 'paused' or why == 'closed' then
    return now - since, why
  elseif why == 'tpd' or why == 'rpd' or why == 'usd_total' or why == 'usd_per_day' then
    return HUGE, why
  end
end

local function has_another_way(id)
  return string.find(cmd('GETRANGE', KEY.job .. id, 0, HEAD_BYTES - 1), '^{"n":%d+,"m":%-?%d+,"o":') ~= nil
end

-- Whether a job has been kept long enough, by the share of its life that it is.
local function is_tired(id, away_ms)
  return away_ms >= math.min(FACT.fallback_ms, cmd('PTTL', KEY.job .. id) / (FACT.fallback_share - 1))
end

-- Hands out those whose time has come, and whose scores are not behind `upto`. `visit.others` says whether there are any, now or later.
local function detour(visit, upto)
  local s, model, lane = visit.shut, visit.found[1], visit.lane
  if not model.model or s ~= model and s.key ~= provider_of(model.key) then return end
  local since = tonumber(cmd('ZSCORE', KEY.blocked .. s.key, lane) or now)
  local away_ms, why = away(visit, since)
  if not away_ms then return end
  local pages = math.ceil(cmd('ZCOUNT', lane, 0, upto) / MAX_HEADS)
  local first = MAX_HEADS * math.random(0, math.max(0, pages - 1))
  local due, leases = cmd('ZRANGEBYSCORE', lane, 0, upto, 'WITHSCORES', 'LIMIT', first, MAX_HEADS), {}
  for i = 1, #due, 2 do
    local id = due[i]
    if has_another_way(id) then
      visit.others = true
      if claim.want <= 0 then break end
      if is_tired(id, away_ms) and not cmd('GET', KEY.in_progress .. id) then
        local payload, tries = cmd('GET', KEY.job .. id), cmd('GET', KEY.retry .. id)
        leases[#leases + 1] = claim.lease_end
        leases[#leases + 1] = id
        lease(lane, id, due[i + 1], false, payload, tries, { names = '', shut = s.key .. ' ' .. why }, 0, 0)
        claim.want = claim.want - 1
      end
    end
  end
  if #leases > 0 then cmd('ZADD', lane, unpack(leases)) end
end
