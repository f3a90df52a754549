-- wake: after a change of limits, lets whoever waits for them try again.
-- needs: clock
-- gives: look_again

-- Whoever waits for one of these limit keys, or for one that a pattern 'prefix:*' covers, is looked at now.
local function look_again(keys)
  for _, key in ipairs(keys) do
    local prefix = string.match(key, '^(.*)%*$')
    for _, waited in ipairs(prefix and cmd('ZRANGE', KEY.gates, 0, -1) or {}) do
      if string.sub(waited, 1, #prefix) == prefix then cmd('ZADD', KEY.gates, now, waited) end
    end
    if cmd('EXISTS', KEY.blocked .. key) == 1 then cmd('ZADD', KEY.gates, now, key) end
  end
  if #keys > 0 then cmd('PUBLISH', KEY.wake_channel, '') end
end
