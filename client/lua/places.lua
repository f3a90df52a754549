-- places: a job's place in its lane outlives what takes it from there: a lease, or the wait for another try.
-- needs: clock, names, conversations
-- gives: return_of, return_at, restore
--
-- While a job runs or waits for another try, its score is a later moment than its place. KEY.returns has that moment,
-- too, with the place, the lane and the id: then the job goes back to its place, where it is due. It goes back only
-- where its score is still that moment. So a job that was claimed, renewed or ended meanwhile by a worker that knows
-- nothing of returns, while versions are mixed, is left as it is, and a return without use goes away by itself.

local RETURNS_AT_ONCE, ROUNDS = 500, 10

-- A job's return; `place` is the score that it was claimed at, as Redis wrote it.
local function return_of(place, lane, id) return place .. ' ' .. lane .. '\n' .. id end

-- The return, at `moment`, of a job of which only the lane is known; nil where there is none.
local function return_at(moment, lane, id)
  local tail = ' ' .. lane .. '\n' .. id
  for _, one in ipairs(cmd('ZRANGEBYSCORE', KEY.returns, moment, moment)) do
    if string.sub(one, -#tail) == tail then return one end
  end
end

-- Puts a job back; false where it is not at its moment any more.
local function put_back(one, moment)
  local place, lane, id = string.match(one, '^(%S+) ([^\n]*)\n(.*)$')
  local ms = tonumber(place)
  if not (ms and ms >= 0 and ms <= now_us / 1000) then return false end  -- below 0 stands what is left unread
  if redis.pcall('ZSCORE', lane, id) ~= moment then return false end
  cmd('ZADD', lane, place, id)
  enter(lane, id, place)
  return lane
end

-- Puts back all whose moment has come. Returns the lanes that they are in, and the next moment, or nil.
local function restore()
  local lanes = {}
  for _ = 1, ROUNDS do
    local first = cmd('ZRANGE', KEY.returns, 0, 0, 'WITHSCORES')[2]
    if not first or tonumber(first) > now then return lanes, tonumber(first or nil) end
    local due = cmd('ZRANGEBYSCORE', KEY.returns, '-inf', now, 'WITHSCORES', 'LIMIT', 0, RETURNS_AT_ONCE)
    for i = 1, #due, 2 do
      local lane = put_back(due[i], due[i + 1])
      if lane then lanes[lane] = true end
    end
    cmd('ZREMRANGEBYRANK', KEY.returns, 0, #due / 2 - 1)
  end
  return lanes, now
end
