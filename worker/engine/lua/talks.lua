-- talks: whose turn it is in a conversation, as a claim finds it.
-- needs: serve, conversations
-- gives: talks_of, passed_on, pass_on, turn_of
--
-- A lane that is held by a turn in another lane is not parked: it gets a look when that turn has been claimed. Then it
-- finds its conversation's key full, and waits for it as ever.

local passed_on = {}  -- lanes whose turn it has become in this claim

-- Those of a lane's limit keys that are conversations.
local function talks_of(found)
  local talks = {}
  for _, s in ipairs(found) do talks[s.key] = string.sub(s.key, 1, 13) == 'conversation:' end
  return talks
end

-- Has the lane looked at whose turn in the conversation it is now.
local function pass_on(lane)
  for _, key in ipairs(turns_of(lane)) do
    local _, next_lane = first_turn(key)
    if next_lane and next_lane ~= lane then
      cmd('ZADD', lanes_of(next_lane), 'LT', now, next_lane)
      passed_on[next_lane] = true
      if lanes_of(next_lane) == claim.lanes then claim.more = true else cmd('PUBLISH', KEY.wake_channel, '') end
    end
  end
end

-- Up to which place the lane may start jobs now; nil where an earlier turn of its conversation, in this lane or in
-- another, has not started yet.
local function turn_of(lane)
  local keys, some_have = turns_of(lane), false
  for _ = 1, MOST_STRANGE do
    local upto, one_has = due_ms, false
    for _, key in ipairs(keys) do upto = math.min(upto, first_turn(key) or HUGE) end
    if upto == due_ms or #cmd('ZRANGEBYSCORE', lane, 0, upto, 'LIMIT', 0, 1) > 0 then return upto end
    for _, key in ipairs(keys) do
      local place, first_lane, id = first_turn(key)
      one_has = one_has or place and place <= upto and has_gone(key, first_lane, id, place)
    end
    if not one_has then break end
    some_have = true
  end
  if some_have then pass_on(lane) end
end
