-- serve: takes the jobs of a lane that are due, and leases them.
-- needs: gates, leases, places, conversations, unread
-- gives: claim, due_ms, lease, serve

local MAX_FOREIGN = 1000  -- jobs of stock arq workers passed over in one claim, and those that it sets aside unread
local due_ms = now_us / 1000  -- scores are finer than `now`

-- What claim.lua was asked for, and what it has taken: want, lease_end, hold_ms, worker, token, aborts (asked for: a list),
-- aliases, taken, leased (the lanes of what it has taken), the jobs taken `last`, `of` which lane's keys; what had lapsed
-- and is the worker's still (`mine`); of those that cannot be read, how many were `unread`; and whether there may be `more`.
local claim = { taken = {}, leased = {}, mine = {}, unread = 0 }

local function crash(id, old_token)
  local key = KEY.crashes .. id
  local count = cmd('RPUSH', key, now .. ' ' .. old_token)
  cmd('PEXPIRE', key, DAY_MS)
  return count
end

-- What is told of a job that is not as most: false where it is.
local function rest_of(tries, crashes, abort, tokens, usd)
  if not tries and crashes == 0 and abort == 0 and tokens == 0 then return false end
  tries = tries and (string.match(tries, '^%d+$') and #tries < 10 and tries or '0') or '-'
  return string.format('%s %d %s %.0f %s', tries, crashes, abort, tokens, usd and usd > 0 and text_of(usd) or '0')
end

-- Tells of a job that was taken, with those of its lane that were taken just before.
local function tell(lane, found, id, place, payload, rest)
  if claim.of ~= found then
    claim.of, claim.last = found, { lane, found.names, found.shut or '' }
    claim.taken[#claim.taken + 1] = claim.last
  end
  local last = claim.last
  local at = #last
  last[at + 1], last[at + 2], last[at + 3], last[at + 4] = id, place, payload, rest
end

-- Whether the worker that asks has made the token: its name is one process's.
local function is_mine(token) return string.match(token, '^%a+:%d+:(.*)@%S+$') == claim.worker end

-- The lease of a job that its worker has still goes on, and so do its slots where nobody else has them.
local function go_on(lane, id, token, found)
  local run = { id = id, keys = {} }
  for i, s in ipairs(found) do
    run.keys[i] = s.key
    look_anew(s)
  end
  prolong(run, ends_of({ run }), claim.lease_end)
  for _, word in ipairs({ id, lane, token, found.names }) do claim.mine[#claim.mine + 1] = word end
  claim.leased[lane] = true
  depart(lane, id)
end

-- False where the job is left alone; its score is prolonged all the same.
local function lease(lane, id, score, held, payload, tries, found, tokens, usd)
  local abort = #claim.aborts > 0 and cmd('ZSCORE', KEY.aborts, id) or 0
  -- arq's client makes what it aborts due at 1, running or not: then the lease has not lapsed, and
  -- the worker that runs it reads KEY.aborts.
  if held and score == '1' and abort ~= 0 then return false end
  if held and is_mine(held) then  -- it stood still: nobody has died
    go_on(lane, id, held, found)
    return true
  end
  local crashes = held and crash(id, held) or 0
  cmd('SET', KEY.in_progress .. id, claim.token .. '@' .. score, 'PX', claim.hold_ms)
  for _, s in ipairs(found) do take(s, id, claim.lease_end, tokens, usd) end
  depart(lane, id)
  claim.leased[lane] = true
  tell(lane, found, id, score, payload, rest_of(tries, crashes, abort, tokens, usd))
  return true
end

-- The key that has not the tokens or the dollars for a job, when to ask again, the tokens it is short of, and why.
local function first_short(metered, tokens, usd)
  for _, s in ipairs(metered) do
    local at, need, why = short_of(s, tokens, usd)
    if at then return s, at, need, why end
  end
end

-- For each job that is due, three: its token, payload, tries.
local function read_jobs(due)
  local names, running, job, retry = {}, KEY.in_progress, KEY.job, KEY.retry
  for i = 1, #due, 2 do
    names[#names + 1] = running .. due[i]
    names[#names + 1] = job .. due[i]
    names[#names + 1] = retry .. due[i]
  end
  return cmd('MGET', unpack(names))
end

-- Whether it begins as a JSON object does; a pickle does not. Whether it is the record of a job, its worker finds out.
local function is_readable(payload) return string.byte(payload) == 123 or string.find(payload, '^%s+{') ~= nil end

-- Where a job has no payload: whether its deadline has passed (false), or there is something that is no text ('').
local function no_text(id)
  return cmd('EXISTS', KEY.job .. id) == 1 and not cmd('GET', KEY.job .. id) and ''
end

-- Takes up to `quota` jobs whose scores are not behind `upto`; returns how many, and the limit key that stopped it, as first_short does.
local function serve(lane, quota, upto, found)
  local STEP = 50           -- read at once while passing over them
  local got, skipped, unread, asked_for = 0, 0, 0, quota
  local due = cmd('ZRANGEBYSCORE', lane, 0, upto, 'WITHSCORES', 'LIMIT', 0, quota)
  while #due > 0 do
    local read, leases = read_jobs(due), {}
    local shut, at, need, why
    for i = 1, #due, 2 do
      if got >= quota then break end
      local id, row = due[i], (i - 1) / 2 * 3
      local held, payload, tries = read[row + 1], read[row + 2], read[row + 3]
      if held == 'ended' or not payload and cmd('EXISTS', KEY.result .. id) == 1 then
        cmd('ZREM', lane, id)  -- ended while it waited here
        depart(lane, id)
        if payload then cmd('DEL', KEY.job .. id) end
      elseif held and not is_ours(held) then
        skipped = skipped + 1
      elseif payload and not is_readable(payload) then
        leave_unread(lane, id, due[i + 1])
        depart(lane, id)
        claim.unread, unread = claim.unread + 1, unread + 1
      else
        local tokens, usd = 0, 0
        payload = payload or no_text(id)
        if found.metered[1] and payload then
          tokens, usd = estimate(found, read_reservation(payload))
        end
        shut, at, need, why = first_short(found.metered, tokens, usd)
        if shut then break end
        leases[#leases + 1] = claim.lease_end
        leases[#leases + 1] = id
        if lease(lane, id, due[i + 1], held, payload, tries, found, tokens, usd) then got = got + 1 end
      end
    end
    if #leases > 0 then cmd('ZADD', lane, unpack(leases)) end
    if shut then return got, shut, at, need, why end
    claim.more = claim.more or unread >= MAX_FOREIGN
    if got >= quota or #due < 2 * asked_for or skipped >= MAX_FOREIGN or unread >= MAX_FOREIGN then break end
    asked_for = math.max(quota - got, math.min(skipped + unread, STEP))
    due = cmd('ZRANGEBYSCORE', lane, 0, upto, 'WITHSCORES', 'LIMIT', skipped, asked_for)
  end
  return got
end
