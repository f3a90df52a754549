-- places: a job's place in its lane outlives what takes it from there: a lease, or the wait for another try.
-- needs: clock, names, conversations
-- gives: return_of, return_at, expect_back, restore
--
-- While a job runs or waits for another try, its score is a later moment than its place. KEY.returns has that moment,
-- too: of a wait with the place, the lane and the id; of leases '{moment} {lane}', once for all jobs of a lane that were
-- leased together, whose tokens have their places. Then each goes back to its place, where it is due, but only where
-- its score is still that moment. So what ended, or was renewed or claimed meanwhile, also by a worker that knows
-- nothing of returns while versions are mixed, stays as it is, and a return without use goes away by itself.


-- The return of a job that waits for another try.
local function return_of(place, lane, id) return place .. ' ' .. lane .. '\n' .. id end

-- The return, at `moment`, of a job of which only the lane is known; nil where there is none.
local function return_at(moment, lane, id)
  local tail = ' ' .. lane .. '\n' .. id
  for _, one in ipairs(cmd('ZRANGEBYSCORE', KEY.returns, moment, moment)) do
    if string.sub(one, -#tail) == tail then return one end
  end
end

-- Notes when the leases end that have begun or were renewed in these lanes, a set.
local function expect_back(lanes, lease_end)
  local row, at = {}, string.format('%.0f', lease_end)
  for lane in pairs(lanes) do
    row[#row + 1] = at
    row[#row + 1] = at .. ' ' .. lane
  end
  if #row > 0 then cmd('ZADD', KEY.returns, unpack(row)) end
end

local function put_back(place, lane, id)
  local ms = tonumber(place or nil)
  if not (ms and ms >= 0 and ms <= now_us / 1000) then return false end  -- below 0 stands what is left unread
  if type(redis.pcall('ZADD', lane, place, id)) == 'table' then return false end
  enter(lane, id, place)
  return true
end

-- Puts back what a return speaks of. Returns its lane, where there was anything.
local function bring_back(one, moment)
  local place, lane, id = string.match(one, '^(%S+) ([^\n]*)\n(.*)$')
  if place then
    return is_lane(lane) and redis.pcall('ZSCORE', lane, id) == moment and put_back(place, lane, id) and lane
  end
  lane = string.match(one, '^%S+ (.*)$')
  local ids = lane and is_lane(lane) and redis.pcall('ZRANGEBYSCORE', lane, moment, moment) or {}
  local found = false
  for _, lapsed in ipairs(ids) do
    local held = cmd('GET', KEY.in_progress .. lapsed)
    if held and put_back(place_of(held), lane, lapsed) then found = lane end
  end
  return found
end

-- Puts back all whose moment has come. Returns the lanes that they are in, and the next moment, or nil.
local function restore()
  local RETURNS_AT_ONCE, ROUNDS = 500, 10
  local lanes = {}
  for _ = 1, ROUNDS do
    local first = cmd('ZRANGE', KEY.returns, 0, 0, 'WITHSCORES')[2]
    if not first or tonumber(first) > now then return lanes, tonumber(first or nil) end
    local due = cmd('ZRANGEBYSCORE', KEY.returns, '-inf', now, 'WITHSCORES', 'LIMIT', 0, RETURNS_AT_ONCE)
    for i = 1, #due, 2 do
      local lane = bring_back(due[i], due[i + 1])
      if lane then lanes[lane] = true end
    end
    cmd('ZREMRANGEBYRANK', KEY.returns, 0, #due / 2 - 1)
  end
  return lanes, now
end
