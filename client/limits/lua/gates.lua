-- gates: who waits for a limit key, and who goes when it has room.
-- needs: reserve
-- gives: MAX_GATES, oldest, wait_for, first_shut, grant, open_due, open_waited
--
-- A lane that finds a key full is parked: it waits in the key's queue, by the moment it was last served, and the
-- key gets a moment in KEY.gates. A parked lane keeps a far score in KEY.lanes, in case every signal is lost.
-- A call of its own waits there as its ticket, and is handed its slots.
-- Nobody overtakes: who came after the oldest that waits, waits behind it.

local MAX_GATES = 32      -- that are opened by one script

local function oldest(s)
  if s.oldest == nil and not anybody_waits() then s.oldest = HUGE end
  if s.oldest == nil then
    s.oldest = cmd('ZRANGE', KEY.blocked .. s.key, 0, 0, 'WITHSCORES')[2]
    s.oldest = s.oldest and tonumber(s.oldest) or HUGE
  end
  return s.oldest
end

-- `since` decides who goes first. Who has just been served goes behind; who has not keeps its place. What the first
-- `need`s of the bucket is left in it for them.
local function wait_for(s, who, since, at, keep_place, need)
  local queue = KEY.blocked .. s.key
  if keep_place then
    cmd('ZADD', queue, 'NX', since, who)
  else
    cmd('ZADD', queue, since, who)
  end
  cmd('PEXPIRE', queue, SLOTS_TTL_MS)
  cmd('ZADD', KEY.gates, 'LT', at, s.key)
  if need and since <= oldest(s) then s.need, s.changed = need, true end
  s.oldest, facts.anybody_waits = math.min(oldest(s), since), true
end

-- Whether all keys let one more call pass, of so many tokens and dollars. In a conversation (`found.turns`) the order
-- of its turns counts, and not who waits for its key. Else the key that does not, when to ask, and
-- the tokens it is short of.
local function first_shut(found, since, tokens, usd)
  for _, s in ipairs(found) do
    if s.limited then
      if oldest(s) < since and not (found.turns and found.turns[s.key]) then return s, now + 1000 end
      local free, at = room(s)
      local need
      if free >= 1 then at, need = short_of(s, tokens, usd) end
      if at then return s, at, need end
    end
  end
end

-- Gives a call of its own its slots, or lets it wait. Returns tokens and dollars reserved, or nil and the key. Who is
-- not `asked` for now is told; where nobody listens, the process has gone, or will ask again: nil and no key. So it is
-- where what waits is no call.
local function grant(ticket, since, asked)
  local call = read_ticket(ticket)
  if not call then return nil end
  local found = states_of(call.keys)
  local tokens, usd = estimate(found, call.input, call.output)
  local shut, at, need = first_shut(found, since, tokens, usd)
  if shut then
    wait_for(shut, ticket, since, at, true, need)
    return nil, shut
  end
  local words = string.format('%s %d %.12g %d', string.sub(call.id, 2), tokens, usd or 0, now)
  if not asked and cmd('PUBLISH', call.channel, words) == 0 then return nil end
  for _, s in ipairs(found) do take(s, call.id, now + call.lease_ms, tokens, usd) end
  return tokens, usd or 0
end

-- Lets the first `count` that wait for a key go. Returns how many of them are lanes, and how many had gone away.
local function let_go(s, count)
  local lanes, gone = 0, 0
  local going = cmd('ZPOPMIN', KEY.blocked .. s.key, count)
  s.oldest = nil
  for i = 1, #going, 2 do
    local who, since = going[i], tonumber(going[i + 1])
    if string.sub(who, 1, 1) == '!' then
      local granted, shut = grant(who, since)
      if not granted and not shut then gone = gone + 1 end
    else
      cmd('ZADD', lanes_of(who), math.min(since, now), who)
      lanes = lanes + 1
      if s.need then  -- it takes them in its claim
        s.tok, s.kept = s.tok - s.need, (s.kept or 0) + s.need
      end
    end
    if s.need then forget(s, 'need') end
  end
  return lanes, gone
end

-- Lets as many go as the key has room for. Returns the number of lanes that are due now.
local function open(s)
  local LAPSED_MS = 3600000  -- after which a slot that its holder never gave back is swept out
  local OPEN_AT_ONCE = 64
  local free, at = room(s)
  local short_ms = s.need and s.tpm and short_until(s, s.need)
  if short_ms then free, at = 0, short_ms end
  local count, lanes, rounds = math.min(free, OPEN_AT_ONCE), 0, 0
  cmd('ZREM', KEY.gates, s.key)
  if count > 0 then
    cmd('ZREMRANGEBYSCORE', KEY.slots .. s.key, 1, now - LAPSED_MS)
    local left = count
    while left > 0 and rounds < OPEN_AT_ONCE do  -- whoever had gone away makes way for the next
      local due, gone = let_go(s, left)
      lanes, left, rounds = lanes + due, gone, rounds + 1
    end
    at = (count == OPEN_AT_ONCE or left > 0) and now or next_chance(s)
    if s.kept then  -- the others wait until that lane has had its claim
      s.tok, s.kept, at = s.tok + s.kept, nil, now + SOON_MS
    end
  end
  if cmd('EXISTS', KEY.blocked .. s.key) == 1 then cmd('ZADD', KEY.gates, 'LT', at, s.key) end
  return lanes
end

-- Opens the keys that are due. Returns the number of lanes that are due now, and of keys.
local function open_due()
  if not anybody_waits() then return 0, 0 end
  local lanes, due = 0, cmd('ZRANGEBYSCORE', KEY.gates, '-inf', now, 'LIMIT', 0, MAX_GATES)
  for _, key in ipairs(due) do lanes = lanes + open(state_of(key)) end
  return lanes, #due
end

-- Opens those of the keys that somebody waits for. Returns the number of lanes that are due now.
local function open_waited(keys)
  if #keys == 0 or not anybody_waits() then return 0 end
  local lanes = 0
  local asked = cmd('ZMSCORE', KEY.gates, unpack(keys))
  for i, key in ipairs(keys) do
    if asked[i] then lanes = lanes + open(state_of(key)) end
  end
  return lanes
end
