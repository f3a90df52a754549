-- checked: commands that outlive what strangers have put in the place of our records, and numbers that are checked.
-- gives: is_own_key, cmd, within
--
-- A key of ours that holds another type than ours is nobody's record. It is set aside: renamed, for a week, and noted.
-- Then the command is done once more, now that nothing is there. A key that is not ours, such as another
-- program's under the name of somebody's queue, stays as it is, and is read as an empty one.

local is_own_key, cmd
do
  local MAX_ASIDE, ASIDE_TTL_MS = 100, 604800000

  function is_own_key(key)
    for name in string.gmatch(FACT.ours, '[^\n]+') do
      if key == name or string.sub(name, -1) == ':' and string.sub(key, 1, #name) == name then return true end
    end
    return false
  end

  local plain, try = redis.call, redis.pcall  -- looked up once

  -- False where the user may not rename: then it stays, and is read as one that is not ours.
  local function set_aside(key)
    local time, aside = plain('TIME'), FACT.set_aside .. key
    if type(try('RENAME', key, aside).err) == 'string' then return false end
    try('PEXPIRE', aside, ASIDE_TTL_MS)
    if key == FACT.limits then try('DEL', FACT.limits_seeded) end  -- so that workers put theirs in force again
    local noted = try('ZADD', FACT.aside, time[1] * 1000 + time[2] / 1000, key)
    if type(noted) == 'table' then try('DEL', FACT.aside) end  -- it is not as ours, or the server is full
    try('PEXPIRE', FACT.aside, ASIDE_TTL_MS)
    local old = try('ZRANGE', FACT.aside, 0, -1 - MAX_ASIDE)
    for _, one in ipairs(old) do
      try('UNLINK', FACT.set_aside .. one)
      try('ZREM', FACT.aside, one)
    end
    return true
  end

  -- A command that was refused, once more.
  local function again(refusal, command, key, ...)
    local is_strange = string.find(refusal, 'WRONGTYPE', 1, true)
    if not is_strange or is_own_key(key) and set_aside(key) then
      return plain(command, key, ...)  -- where it fails as before, it ends the script
    end
    try('DEL', FACT.nothing)
    local reply = plain(command, FACT.nothing, ...)
    try('DEL', FACT.nothing)
    return reply
  end

  function cmd(...)
    local reply = try(...)
    if type(reply) == 'table' and reply.err then return again(reply.err, ...) end
    return reply
  end
end

-- The number that a text is; nil where it is none, or one that cannot be.
local function within(text, least, most)
  local number = tonumber(text or nil)
  if number and number >= least and number <= most then return number end
end
