-- renew: prolongs the leases of jobs that still run, and of their slots.
-- needs: leases, places, conversations
--
-- ARGV[1]  lease, ms, from now on
-- then, for each job, four: id, lane, token, limit keys (write_names)
--
-- Returns a list: 1 where the lease was prolonged, 0 where another worker has the job or it has ended,
-- -1 where Redis does not know it any more, 2 where the job is still this worker's, but not its slots: they
-- were taken away, or had lapsed and others have them.

local lease_ms = tonumber(ARGV[1])
if not lease_ms or (#ARGV - 1) % 4 ~= 0 or #ARGV < 5 then
  return redis.error_reply('renew: an argument and four for each job')
end

local lease_end = now + lease_ms
local names = {}
for i = 2, #ARGV, 4 do names[#names + 1] = KEY.in_progress .. ARGV[i] end
local held = cmd('MGET', unpack(names))

local renewed, going, lanes = {}, {}, {}
for n = 1, #names do
  local id, lane, token, keys = unpack(ARGV, 4 * n - 2, 4 * n + 1)
  renewed[n] = held[n] == token and 1 or held[n] and 0 or -1
  if renewed[n] == 1 then
    cmd('ZADD', lane, 'XX', lease_end, id)
    lanes[lane] = true
    depart(lane, id)  -- it may have lapsed, and waited to start
    going[#going + 1] = { n = n, id = id, keys = read_names(keys).keys }
  end
end
expect_back(lanes, lease_end)
local ends = ends_of(going)
for _, job in ipairs(going) do
  if not prolong(job, ends, lease_end) then renewed[job.n] = 2 end
end
save_all()
return renewed
