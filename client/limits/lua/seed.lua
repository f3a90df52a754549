-- seed: puts the limits of the settings in force, those that have changed since they were last put.
-- needs: wake
--
-- ARGV, for every limit in the settings, two: limit key or pattern 'prefix:*', Limit as JSON
--
-- Returns the limit keys and patterns that were changed. A run-time change of one that is as before stays.

if #ARGV % 2 ~= 0 then
  return redis.error_reply('seed: two arguments for every limit')
end

local limits, seeded = KEY.limits, KEY.limits_seeded
local wanted, changed = {}, {}

for i = 1, #ARGV, 2 do
  local key, text = ARGV[i], ARGV[i + 1]
  wanted[key] = true
  if cmd('HGET', seeded, key) ~= text then
    cmd('HSET', limits, key, text)
    cmd('HSET', seeded, key, text)
    changed[#changed + 1] = key
  end
end
for _, key in ipairs(cmd('HKEYS', seeded)) do
  if not wanted[key] then
    if cmd('HGET', limits, key) == cmd('HGET', seeded, key) then
      cmd('HDEL', limits, key)
      changed[#changed + 1] = key
    end
    cmd('HDEL', seeded, key)
  end
end
look_again(changed)
return changed
