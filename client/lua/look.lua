-- look: what has become of these jobs, at one moment.
--
-- KEYS[2i - 1]   result i: string, the result as JSON
-- KEYS[2i]       job i: string, the job as JSON
--
-- Returns a list: the result where there is one, 1 where the job waits or runs, 0 where nothing is known.

if #KEYS == 0 or #KEYS % 2 ~= 0 then
  return redis.error_reply('look: two keys for each job')
end

local seen = {}
for i = 1, #KEYS / 2 do
  seen[i] = redis.call('GET', KEYS[2 * i - 1]) or redis.call('EXISTS', KEYS[2 * i])
end
return seen
