-- count: adds to the totals of calls, each writing of a worker once, however often it is sent.
-- needs: clock
--
-- ARGV[1]  who writes
-- ARGV[2]  the number of this writing, from 1; one that is sent again has the number that it had
-- ARGV[3]  life of a day's totals after the last, ms
-- then, for each number, three: its day, its field (client/costs.py), what is added
--
-- Returns how many could not be added: they are left out, and the others stand.

local MOST_WRITINGS = 1e12  -- ten a second
local writer, writing, ttl_ms = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
if not (writing and ttl_ms) or #ARGV % 3 ~= 0 then
  return redis.error_reply('count: three arguments, and three for each number')
end

if (within(cmd('GET', KEY.counted .. writer), 0, MOST_WRITINGS) or 0) >= writing then return 0 end
cmd('SET', KEY.counted .. writer, writing, 'PX', DAY_MS)  -- first: where a full server refuses it, nothing is counted

local MOST_ADDED, NO_NUMBER = 1e12, { err = 'no number' }  -- tokens, or US dollars, in a writing
local days, left_out = {}, 0
for at = 4, #ARGV, 3 do
  local day, field, number = unpack(ARGV, at, at + 2)
  local add = string.match(number, '^-?%d+$') and 'HINCRBY' or 'HINCRBYFLOAT'
  local key = KEY.cost .. day
  if not days[day] then cmd('HLEN', key) end  -- what is no hash is set aside
  local said = within(number, -MOST_ADDED, MOST_ADDED) and redis.pcall(add, key, field, number) or NO_NUMBER
  if type(said) == 'table' and said.err then left_out = left_out + 1 else days[day] = true end
end
for day in pairs(days) do cmd('PEXPIRE', KEY.cost .. day, ttl_ms) end
return left_out
