-- renew: prolongs the leases of jobs that still run.
--
-- ARGV[1]   lease, ms, from now on
-- ARGV[2]   prefix of the 'in progress' keys
-- then, for each job, three: id, lane, token
--
-- Returns a list: 1 where the lease was prolonged, 0 where another worker has the job or it has ended,
-- -1 where Redis does not know it any more.

local lease_ms, running = tonumber(ARGV[1]), ARGV[2]
if not lease_ms or (#ARGV - 2) % 3 ~= 0 or #ARGV < 5 then
  return redis.error_reply('renew: two arguments and three for each job')
end

local time = redis.call('TIME')
local lease_end = time[1] * 1000 + math.floor(time[2] / 1000) + lease_ms

local names = {}
for i = 3, #ARGV, 3 do names[#names + 1] = running .. ARGV[i] end
local held = redis.call('MGET', unpack(names))

local renewed = {}
for n = 1, #names do
  local id, lane, token = ARGV[3 * n], ARGV[3 * n + 1], ARGV[3 * n + 2]
  if held[n] == token then
    redis.call('ZADD', lane, 'XX', lease_end, id)
    renewed[n] = 1
  else
    renewed[n] = held[n] and 0 or -1
  end
end
return renewed
