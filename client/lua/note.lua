-- note: writes a little that a worker tells of itself, or of its models, for a while.
-- needs: clock
--
-- ARGV[1]  key
-- ARGV[2]  its life from now on, ms
-- then a text, which replaces what is there; or for each field of a hash two: its name, its value
--
-- Returns 1.

local key, life_ms = ARGV[1], ARGV[2]
if #ARGV < 3 or #ARGV > 3 and #ARGV % 2 == 1 then
  return redis.error_reply('note: a key, its life, and a text or fields')
end
if #ARGV == 3 then
  cmd('SET', key, ARGV[3], 'PX', life_ms)
else
  cmd('HSET', key, unpack(ARGV, 3))
  cmd('PEXPIRE', key, life_ms)
end
return 1
