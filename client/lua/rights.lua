-- rights: what the user who asks may not do of what is needed. Writes nothing.
--
-- ARGV[1]  commands on keys, a space between them
-- ARGV[2]  keys, or what they begin with
-- ARGV[3]  commands on channels
-- ARGV[4]  channels, or what they begin with
-- ARGV[5]  other commands
--
-- Returns 1 where the server can tell, else 0 (Redis before 7: then nothing but PUBLISH is tried), and what is missing:
-- '+ZADD', '~{key}', '&{channel}'. Where every command fails with every key, either may be missing: both are told.

if #ARGV ~= 5 then
  return redis.error_reply('rights: five arguments')
end
local may, missing = redis.acl_check_cmd, {}

local function words(text)
  local found = {}
  for word in string.gmatch(text, '%S+') do found[#found + 1] = word end
  return found
end

-- A command is allowed if it is with any of the names, and so is a name: the server tells of both together only.
local function try(commands, names, mark, allows)
  local good = {}
  local function look(some, others, allows_both)
    for _, one in ipairs(some) do
      for _, other in ipairs(good[one] and {} or others) do
        if allows_both(one, other) then
          good[one], good[other] = true, true
          break
        end
      end
    end
  end
  look(commands, names, allows)
  look(names, commands, function(name, command) return allows(command, name) end)
  for _, command in ipairs(commands) do
    if not good[command] then missing[#missing + 1] = '+' .. command end
  end
  for _, name in ipairs(names) do
    if not good[name] then missing[#missing + 1] = mark .. name end
  end
end

local channel_commands, channels = words(ARGV[3]), words(ARGV[4])
if may then
  for _, command in ipairs(words(ARGV[5])) do
    local name, sub = string.match(command, '^([^|]+)|(.+)$')
    local allowed = name and may(name, sub, '') or not name and may(command)
    if not allowed then missing[#missing + 1] = '+' .. command end
  end
  try(words(ARGV[1]), words(ARGV[2]), '~', function(command, key) return may(command, key, key, key, key) end)
  try(channel_commands, channels, '&', function(command, channel) return may(command, channel) end)
elseif #channels > 0 then  -- nobody takes an empty message for more than a signal
  try({ 'PUBLISH' }, channels, '&', function(command, channel)
    local said = redis.pcall(command, channel, '')
    return type(said) ~= 'table' or not said.err
  end)
end
return { may and 1 or 0, missing }
