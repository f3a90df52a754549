-- renew: prolongs the leases of jobs that still run, and of their slots.
-- Follows the scripts of client/limits/lua.
--
-- ARGV[1]   lease, ms, from now on
-- ARGV[2]   prefix of the 'in progress' keys
-- then, for each job, four: id, lane, token, limit keys ('\n' between them, '' for none)
--
-- Returns a list: 1 where the lease was prolonged, 0 where another worker has the job or it has ended,
-- -1 where Redis does not know it any more, 2 where the job is still this worker's, but not its slots: they
-- were taken away, or had lapsed and others have them.

local lease_ms, running = tonumber(ARGV[1]), ARGV[2]
if not lease_ms or (#ARGV - 2) % 4 ~= 0 or #ARGV < 6 then
  return redis.error_reply('renew: two arguments and four for each job')
end

local lease_end = now + lease_ms
local names = {}
for i = 3, #ARGV, 4 do names[#names + 1] = running .. ARGV[i] end
local held = redis.call('MGET', unpack(names))

local renewed, holders, ends = {}, {}, {}
for n = 1, #names do
  local id, lane, token, keys = unpack(ARGV, 4 * n - 1, 4 * n + 2)
  renewed[n] = held[n] == token and 1 or held[n] and 0 or -1
  if renewed[n] == 1 then
    redis.call('ZADD', lane, 'XX', lease_end, id)
    for _, key in ipairs(read_names(keys).keys) do
      holders[key] = holders[key] or {}
      table.insert(holders[key], id)
    end
  end
end
for key, ids in pairs(holders) do
  ends[key] = {}
  for i, at in ipairs(redis.call('ZMSCORE', KEY.slots .. key, unpack(ids))) do
    ends[key][ids[i]] = at and tonumber(at) or -1  -- 0 where it was taken away
  end
end

-- Whether the slot is still held, or had lapsed and is free yet.
local function keep(s, id)
  local at = ends[s.key][id]
  return at > now or at ~= 0 and (s.most == HUGE or used(s) < s.most)
end

for n = 1, #names do
  local id, found = ARGV[4 * n - 1], renewed[n] == 1 and states_of(read_names(ARGV[4 * n + 2]).keys) or {}
  for _, s in ipairs(found) do
    if not keep(s, id) then renewed[n] = 2 end
  end
  if renewed[n] == 1 then
    for _, s in ipairs(found) do
      if ends[s.key][id] <= now and s.used then s.used = s.used + 1 end
      s.taken[#s.taken + 1] = lease_end
      s.taken[#s.taken + 1] = id
    end
  end
end
save_all()
return renewed
