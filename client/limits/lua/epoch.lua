-- epoch: notices that Redis has lost its data, and holds admission for a while.
-- needs: clock, names
-- gives: epoch_of

local EPOCH_TTL_MS = 7 * DAY_MS
local QUARANTINE_MS = 2000  -- for every worker to cancel what ran under lost slots, or to take them back

-- The epoch, and until when nothing is admitted (ms; 0: no matter). `known` is what the asker was told before, or ''.
-- It is there as long as Redis keeps its data: '{name} {quarantine's end, ms}'. Now and then it is prolonged.
-- What is neither, or holds admission for longer than that, is made anew.
local function epoch_of(known)
  local epoch, quiet_ms = string.match(cmd('GET', KEY.epoch) or '', '^(%w+) (%d+)$')
  local write = not epoch or #epoch > 64 or tonumber(quiet_ms) > now + QUARANTINE_MS
  if write then epoch, quiet_ms = string.format('%.0f', now_us), '0' end
  if known ~= '' and known ~= epoch and quiet_ms == '0' then
    quiet_ms, write = text_of(now + QUARANTINE_MS), true
  end
  if write or math.random(100) == 1 then
    cmd('SET', KEY.epoch, epoch .. ' ' .. quiet_ms, 'PX', EPOCH_TTL_MS)
  end
  return epoch, tonumber(quiet_ms)
end
