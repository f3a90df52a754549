-- reset: forgets what was counted for a limit key's budgets: of the day's requests, tokens and dollars, and of all.
-- needs: wake
--
-- ARGV[1]  limit key
--
-- Returns 1 where anything had been counted, else 0. What runs now then counts by what it takes beyond its estimate.

local key = ARGV[1]

if #ARGV ~= 1 or key == '' then
  return redis.error_reply('reset: a limit key')
end
local counted = cmd('HDEL', KEY.flow .. key, 'day_req', 'day_tok', 'day_usd', 'usd') > 0
look_again({ key })
return counted and 1 or 0
