-- names: the names and little texts that are written or read on both sides, each as its file in client/wire says.
-- needs: clock
-- gives: MOST_TOKENS, is_named, is_lane, lanes_of, provider_of, keys_of, read_names, write_names, read_ticket, read_reservation,
--        new_token, place_of, claimed_ms, is_ours, text_of

local MOST_TOKENS = 1000000000  -- more are a mistake, and count as so many

-- Whether it is a queue of arq's with a name of its own, and no lane of ours.
local function is_named(lane) return string.sub(lane, 1, #KEY.lane) ~= KEY.lane and lane ~= KEY.queue end

-- Whether it can be a lane, or such a queue. No other record of ours is taken for one, nor what another namespace has.
local function is_lane(key)
  if not is_named(key) then return true end
  local name = string.sub(key, #FACT.prefix + 1)
  return key == FACT.prefix .. name and name ~= '' and not string.match(name, '^{[%l%d_-]+}:') and not is_own_key(key)
end

-- Where a lane waits for its turn, as keys.py's lanes_of.
local function lanes_of(lane)
  if is_named(lane) then return KEY.own_lanes .. lane end
  local cpu = KEY.lane .. 'cpu|'
  return string.sub(lane .. '|', 1, #cpu) == cpu and KEY.cpu_lanes or KEY.lanes
end

-- The provider of a model; nil where a part of a lane's name is no model. tenant:a/b is none.
local function provider_of(part) return string.match(part, '^([^/:@][^/:]*)/.') end

local function add(keys, key)
  if #keys >= 32 or key and #key > 1200 then return end  -- more, or longer, than lanes.py lets through
  for i = 1, #keys do
    if keys[i] == key then return end
  end
  keys[#keys + 1] = key
end

local lanes_keys, written = {}, {}

-- The limit keys of a lane: every part of its name, and the provider of a model that comes first.
local function keys_of(lane, aliases)
  local keys = lanes_keys[lane]
  if keys then return keys end
  keys = {}
  if string.sub(lane, 1, #KEY.lane) == KEY.lane then
    for part in string.gmatch(string.sub(lane, #KEY.lane + 1), '[^|]+') do
      if #keys > 0 then
        add(keys, part)
      else
        local alias, name = string.match(part, '^(@%w+)/?(.*)$')
        local model = alias and aliases[alias] or ''
        if model ~= '' then part = name == '' and model or (string.match(model, '^[^/]+') or '') .. '/' .. name end
        add(keys, part)
        add(keys, provider_of(part))
      end
    end
  end
  lanes_keys[lane] = keys
  return keys
end

-- The limit keys of a job, written down for its worker: a line each, with '!' before those that are metered.
local function write_names(found)
  local names = {}
  for i, s in ipairs(found) do names[i] = (s.metered or s.model) and '!' .. s.key or s.key end
  return table.concat(names, '\n')
end

-- The limit keys in such a text, and those of them that are metered.
local function read_names(names)
  local read = written[names]
  if not read then
    read = { keys = {}, metered = {} }
    for mark, key in string.gmatch(names, '(!?)([^\n]+)') do
      read.keys[#read.keys + 1] = key
      if mark == '!' then read.metered[#read.metered + 1] = key end
    end
    written[names] = read
  end
  return read
end

-- Of a call: '!id|lease ms|channel|input|output|key|key…'. Its place in the queues is its ticket, in the slots its id.
local function read_ticket(ticket)
  local id, lease_ms, channel, input, output, keys =
    string.match(ticket, '^(![^|]+)|(%d+)|([^|]+)|(%d+)|(%-?%d+)|(.+)$')
  if not id then return nil end
  local call = { id = id, lease_ms = math.min(lease_ms, 31 * DAY_MS), channel = channel,
    input = math.min(input, MOST_TOKENS), output = math.min(output, MOST_TOKENS), keys = {} }
  for key in string.gmatch(keys, '[^|]+') do add(call.keys, key) end
  if call.keys[1] then return call end
end

-- The tokens of input and output that a payload says it takes; nil where it says nothing.
local function read_reservation(payload)
  local input, output = string.match(payload, '^{"n":(%d+),"m":(%-?%d+),')
  if input then return math.min(input, MOST_TOKENS), math.min(output, MOST_TOKENS) end
end

local function new_token(worker) return string.format('mill:%.0f:%s', now_us, worker) end

-- Whether a worker of ours has made the token; a stock arq worker's is of another kind.
local function is_ours(token) return string.sub(token, 1, 5) == 'mill:' end

-- The place that the token of a job has; nil where it is of another kind, or of a worker of the version before.
local function place_of(token) return string.match(token, '^mill:.*@(%S+)$') end

local function claimed_ms(token) return tonumber(string.match(token, '^mill:(%d+):')) / 1000 end

local function text_of(value)
  if value == math.floor(value) then return string.format('%.0f', value) end
  return string.format('%.12g', value)
end
