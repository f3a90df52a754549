-- unread: a job that our workers cannot read stays in its lane, due, for a worker that can.
-- needs: clock
-- gives: leave_unread
--
-- Its score goes below 0. A stock arq worker takes every score up to now, so it still takes it, in the same order; a
-- claim of ours begins at 0, so it costs nothing, however many there are. KEY.unreadable has its deadline.

local BELOW_0_MS = 10000000000000  -- what is due, before the year 2286, less this is below 0
local KEPT_MS = DAY_MS  -- longer than its deadline its record is kept, for the dead letter

local function leave_unread(lane, id, score)
  local job, member = KEY.job .. id, lane .. '\n' .. id
  local life_ms, known = cmd('PTTL', job), cmd('ZSCORE', KEY.unreadable, member)
  local is_known = known and math.abs(known + KEPT_MS - now - life_ms) < 1000  -- else it was another job of this id
  if life_ms >= 0 and not is_known then
    cmd('ZADD', KEY.unreadable, now + life_ms, member)
    cmd('PEXPIRE', job, life_ms + KEPT_MS)
  end
  cmd('DEL', KEY.in_progress .. id)
  cmd('ZADD', lane, score - BELOW_0_MS, id)
end
