-- conversations: the jobs of a conversation start in the order in which they came, whatever lanes they are in.
-- needs: clock, names
-- gives: MOST_STRANGE, turns_of, enter, depart, first_turn, has_gone
--
-- KEY.turns has the jobs of a conversation that wait to start: '{lane}\n{id}' → place. A job is in it from its enqueue
-- until its claim, and again from the end of a run that did not end it: a hand-back, a lapsed lease, the wait for
-- another try. A lane starts nothing that is behind the first of them. So what waits for another try holds all others.

local TURNS_TTL_MS = 31 * DAY_MS  -- after the last that came
local OF_THEM = 'conversation:'
local MOST_STRANGE = 1000  -- turns of what is no job's, or has gone, that are taken out at once
local NONE, turns = {}, {}

-- The keys of the conversations that a lane's jobs are in: as good as always one, or none.
local function turns_of(lane)
  if turns[lane] then return turns[lane] end
  turns[lane] = NONE
  if not string.find(lane, OF_THEM, 1, true) then return NONE end
  local found = {}
  for part in string.gmatch(string.sub(lane, #KEY.lane + 1), '[^|]+') do
    if string.sub(part, 1, #OF_THEM) == OF_THEM then found[#found + 1] = KEY.turns .. part end
  end
  turns[lane] = string.sub(lane, 1, #KEY.lane) == KEY.lane and found or NONE
  return turns[lane]
end

local function enter(lane, id, place)
  for _, key in ipairs(turns_of(lane)) do
    cmd('ZADD', key, place, lane .. '\n' .. id)
    cmd('PEXPIRE', key, TURNS_TTL_MS)
  end
end

local function depart(lane, id)
  for _, key in ipairs(turns_of(lane)) do cmd('ZREM', key, lane .. '\n' .. id) end
end

-- The place, the lane and the id of the job whose turn it is; nil where none waits.
local function first_turn(key)
  for _ = 1, MOST_STRANGE do
    local first = cmd('ZRANGE', key, 0, 0, 'WITHSCORES')
    if not first[1] then return nil end
    local lane, id = string.match(first[1], '^([^\n]*)\n(.*)$')
    if lane and is_lane(lane) then return tonumber(first[2]), lane, id end
    cmd('ZREM', key, first[1])  -- of a version before, or a stranger's
  end
end

-- Whether a job does not wait to start any more, and is out of its turn. Clients and workers of the version before,
-- which know of no turns, may have aborted, ended or moved it, or run it now; or its deadline has passed. One that is due,
-- but behind its turn, gets the turn of where it stands: else its lane would wait for it, and it for its lane.
local function has_gone(key, lane, id, place)
  local score = tonumber(redis.pcall('ZSCORE', lane, id) or nil)
  local known, runs = cmd('EXISTS', KEY.job .. id), cmd('EXISTS', KEY.in_progress .. id)
  if score and (runs == 1 and score <= now or runs == 0 and known == 1) then
    if score <= place or score > now then return false end
    cmd('ZADD', key, score, lane .. '\n' .. id)
    return true
  end
  return cmd('ZREM', key, lane .. '\n' .. id) == 1
end
