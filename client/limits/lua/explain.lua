-- explain: why a job has not started, or a call has not got its slots, by the rules of those that admit. Writes nothing.
-- needs: room, conversations
--
-- ARGV[1]  the job's id, or the call's ticket (names.lua)
-- ARGV[2]  the job's lane, '' for a call
-- ARGV[3]  where the workers of its queue report
--
-- Returns now (ms), the job's score, how many are ahead of it in its lane or conversation, 1 where it has been tried before, 1 where a
-- worker has reported of late, and for each of its limit keys: the key, its place among those that wait for the key, the
-- key's next look (ms), why it takes no more ('' where it has room), the numbers of that, and its first holders, each
-- with the moment its lease ends. What there is not is false.

local MAX_HOLDERS = 10

-- What to say of a key, by the reason that room and short_of give.
local TOLD = {
  cooldown = function(s) return (s.cool_ms - now) / 1000 end,
  slots = function(s) return used(s), s.most_now end,
  requests = function(s) return s.rpm end,
  tokens = function(s) return s.tpm end,
  rpd = function(s) return math.floor(s.day_req or 0), s.limit.rpd end,
  tpd = function(s) return math.floor((s.day_tok or 0) + 0.5), s.limit.tpd end,
  usd_total = function(s) return s.usd or 0, s.limit.usd_total end,
  usd_per_day = function(s) return s.day_usd or 0, s.limit.usd_per_day end,
}

if #ARGV ~= 3 then
  return redis.error_reply('explain: three arguments')
end
local who, lane, health = ARGV[1], ARGV[2], ARGV[3]
local call = lane == '' and read_ticket(who)
if lane == '' and not call then
  return redis.error_reply('explain: the id of a job and its lane, or a ticket')
end

local input, output, aliases = nil, nil, {}
if call then
  input, output = call.input, call.output
else
  input, output = read_reservation(cmd('GET', KEY.job .. who) or '')
  local row = cmd('HGETALL', KEY.aliases)
  for i = 1, #row, 2 do aliases[row[i]] = row[i + 1] end
end
local found = states_of(call and call.keys or keys_of(lane, aliases))
local tokens, usd = estimate(found, input, output)

local function why_shut(s)
  if room(s) < 1 then return s.why end
  local _, _, why = short_of(s, tokens, usd)
  return why
end

local rows = {}
for i, s in ipairs(found) do
  local why, numbers = why_shut(s), {}
  if TOLD[why] then
    for n, value in ipairs({ TOLD[why](s) }) do numbers[n] = text_of(value) end
  end
  rows[i] = {
    s.key, cmd('ZRANK', KEY.blocked .. s.key, call and who or lane), cmd('ZSCORE', KEY.gates, s.key),
    why or '', numbers,
    cmd('ZRANGEBYSCORE', KEY.slots .. s.key, 1, '+inf', 'WITHSCORES', 'LIMIT', 0, MAX_HOLDERS),  -- 0: evicted
  }
end
local ahead = lane ~= '' and cmd('ZRANK', lane, who)
if ahead then ahead = math.max(0, ahead - cmd('ZCOUNT', lane, '-inf', '(0')) end  -- below 0: left unread
for _, key in ipairs(turns_of(lane)) do
  ahead = ahead and math.max(ahead, cmd('ZRANK', key, lane .. '\n' .. who) or 0)
end
return {
  now, lane ~= '' and cmd('ZSCORE', lane, who), ahead,
  cmd('EXISTS', KEY.attempts .. who, KEY.retry .. who), cmd('EXISTS', health), rows,
}
