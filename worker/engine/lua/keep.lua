-- keep: writes down parts of a job that are done, for a later run of it, only for the holder of its fencing token.
-- needs: clock
--
-- ARGV[1]  job id
-- ARGV[2]  token
-- then, for each field, two: its name, its value
--
-- Returns 1 where it was accepted, 0 where the token is not, or no longer, the job's.

local id, token = ARGV[1], ARGV[2]
if #ARGV < 4 or #ARGV % 2 ~= 0 then
  return redis.error_reply('keep: two arguments, and two for each field')
end
if cmd('GET', KEY.in_progress .. id) ~= token then return 0 end
cmd('HSET', KEY.parts .. id, unpack(ARGV, 3))
cmd('PEXPIRE', KEY.parts .. id, DAY_MS)
return 1
