-- evict: takes slots from their holders, who are told at their next renewal.
-- needs: wake
--
-- ARGV[1]  limit key
-- ARGV[2]  holder, '' for all
--
-- Returns how many holders had a slot.

local key, holder = ARGV[1], ARGV[2]

if #ARGV ~= 2 or key == '' then
  return redis.error_reply('evict: two arguments, the first not empty')
end

local gone, slots = 0, KEY.slots .. key
-- at 0 a slot counts no more, and its holder learns of it; one that has lapsed is nobody's
local holders = holder ~= '' and { holder } or cmd('ZRANGEBYSCORE', slots, '(' .. now, '+inf')
for _, one in ipairs(holders) do gone = gone + cmd('ZADD', slots, 'XX', 'CH', 0, one) end
look_again({ key })
return gone
