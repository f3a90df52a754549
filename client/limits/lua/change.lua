-- change: replaces a limit that is still as its reader saw it.
-- needs: wake
--
-- ARGV[1]  limit key, or pattern 'prefix:*'
-- ARGV[2]  its limit as it was read, JSON, '' for none
-- ARGV[3]  what it is to be, JSON, '' for none
-- ARGV[4]  1 to end the key's cooldown
--
-- Returns 1, or 0 where somebody else has changed it meanwhile and nothing was written.

local key, old, new, warm = ARGV[1], ARGV[2], ARGV[3], ARGV[4]

if #ARGV ~= 4 or key == '' then
  return redis.error_reply('change: four arguments, the first not empty')
end
if (cmd('HGET', KEY.limits, key) or '') ~= old then return 0 end
if new == '' then cmd('HDEL', KEY.limits, key) else cmd('HSET', KEY.limits, key, new) end
if warm == '1' then cmd('HDEL', KEY.flow .. key, 'cool_ms', 'cool_n') end
look_again({ key })
return 1
