-- clock: the server's time, one moment for the whole script, and the dice.
-- needs: checked
-- gives: DAY_MS, now_us, now (ms)

local DAY_MS = 86400000
local time = cmd('TIME')
local now_us = time[1] * 1000000 + time[2]
local now = math.floor(now_us / 1000)
math.randomseed(now_us % 2147483647)
