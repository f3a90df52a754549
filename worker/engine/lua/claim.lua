-- claim: takes jobs that are due and have room under all their limits, lane after lane, and leases them.
-- needs: epoch, turns, places
--
-- ARGV[1]  the worker's own queue: a lane that plain arq clients fill without telling KEY.lanes
-- ARGV[2]  jobs wanted at most
-- ARGV[3]  lease, ms: a job not renewed for so long is due again
-- ARGV[4]  hold, ms: longer than any job runs; how long a crash can be told from a first start
-- ARGV[5]  worker's name, of which the fencing token is made
-- ARGV[6]  the epoch this worker knows, or ''
-- ARGV[7]  the models that the aliases @chat and @embed stand for
--   …[8]
-- ARGV[9]  1 to look for jobs that were never read and whose deadline has passed, 0 not to
--
-- A lane is a zset, job id → Unix ms when the job is somebody's business: when it is due, or, while it
-- runs, when its lease ends. So a job whose worker died is simply due again, and its 'in progress' key
-- still holds that worker's token: that is a crash. A token of another kind is a stock arq worker's,
-- which runs the job: it is left alone. 'ended' holds back the id of a cron job that has run: it is dropped.
-- A job that cannot be read is left for a worker that can (unread.lua), and after its deadline leased, with its score
-- below 0: to be made a dead letter.
-- Before anything is taken, what has lapsed or waited long enough goes back to its place (places.lua).
--
-- Returns now (ms), the next moment to come back (ms, -1 for none known), 1 where more may be due at
-- once, the token (each job's has '@' and its place behind it), the ids to abort, the epoch, the jobs, and how many
-- were found that cannot be read. The jobs are in lists, each of one lane and in the order in which they were taken: the
-- lane, its limit keys (write_names), and why its model is shut, where they have no slots and are to go on to another;
-- then, for each job, four: id, its place, payload or false, and false or, with spaces between, tries used ('-' where
-- it never ran), crashes, abort ms or 0, the tokens and the dollars reserved. Last, of each job whose lease had ended and
-- that the worker has still, as nobody else has begun it, four: id, lane, token, limit keys.

local MAX_OVERDUE = 50  -- jobs that were never read, and whose deadline has passed, in one claim

local own, lease_ms, hold_ms = ARGV[1], tonumber(ARGV[3]), tonumber(ARGV[4])
claim.want, claim.hold_ms, claim.worker = tonumber(ARGV[2]), ARGV[4], ARGV[5]

if #ARGV ~= 9 or not (claim.want and lease_ms and hold_ms) or lease_ms <= 0 or hold_ms <= 0 then
  return redis.error_reply('claim: nine arguments, the lease and the hold above 0')
end

claim.lease_end, claim.token = now + lease_ms, new_token(claim.worker)
claim.lanes, claim.aliases = lanes_of(own), { ['@chat'] = ARGV[7], ['@embed'] = ARGV[8] }
claim.aborts = cmd('ZREVRANGE', KEY.aborts, 0, 99)
if #claim.aborts > 0 then  -- arq's clients also ask for ids that nobody will ever run
  cmd('ZREMRANGEBYSCORE', KEY.aborts, '-inf', now - DAY_MS)
end

local epoch, quiet_ms = epoch_of(ARGV[6])
if quiet_ms > now then
  return { now, quiet_ms, 0, claim.token, claim.aborts, epoch, {}, 0, {} }
end

local function take_overdue()
  for _, member in ipairs(cmd('ZRANGEBYSCORE', KEY.unreadable, '-inf', now, 'LIMIT', 0, MAX_OVERDUE)) do
    local lane, id = string.match(member, '^([^\n]*)\n(.*)$')
    local is_one = lane and is_lane(lane)
    local score, held = is_one and cmd('ZSCORE', lane, id) or '0', is_one and cmd('GET', KEY.in_progress .. id)
    if held and not is_ours(held) then  -- it runs on a stock arq worker, which may want it again
      cmd('ZADD', KEY.unreadable, claim.lease_end, member)
    elseif tonumber(score) >= 0 then
      cmd('ZREM', KEY.unreadable, member)
    elseif claim.want > 0 then
      lease(lane, id, score, false, cmd('GET', KEY.job .. id), false, { names = '' }, 0, 0)
      cmd('ZADD', lane, claim.lease_end, id)
      cmd('ZREM', KEY.unreadable, member)
      claim.want = claim.want - 1
    end
  end
end

if ARGV[9] == '1' then take_overdue() end
local head = cmd('ZRANGEBYSCORE', own, 0, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
if #head > 0 and tonumber(head[2]) < FACT.elsewhere_ms then
  cmd('ZADD', claim.lanes, 'LT', math.max(now, tonumber(head[2])), own)
  if is_named(own) then cmd('PEXPIRE', claim.lanes, DAY_MS) end
end
local back, next_back_ms = restore()
for lane in pairs(back) do
  cmd('ZADD', lanes_of(lane), 'LT', now, lane)
  if lanes_of(lane) ~= claim.lanes then cmd('PUBLISH', KEY.wake_channel, '') end
end
local let_in, opened = open_due()
local visited = go_round()
for _ = 1, 3 do  -- a lane that was let go may have been empty by then
  local touched = {}
  for key, s in pairs(states) do
    if claim.want > 0 and s.limited and room(s) > 0 then touched[#touched + 1] = key end
  end
  if open_waited(touched) == 0 then break end
  visited = go_round()
end
expect_back(claim.leased, claim.lease_end)
save_all()
if let_in > 0 and claim.want <= 0 then cmd('PUBLISH', KEY.wake_channel, '') end  -- others may have room for them

local first = cmd('ZRANGE', claim.lanes, 0, 0, 'WITHSCORES')
local gate_ms = anybody_waits() and cmd('ZRANGE', KEY.gates, 0, 0, 'WITHSCORES')[2]
local next_ms = math.min(tonumber(first[2] or HUGE), tonumber(gate_ms or HUGE), next_back_ms or HUGE)
local more = (visited == MAX_LANES or opened == MAX_GATES or claim.want <= 0 or claim.more) and 1 or 0
return {
  now, next_ms < HUGE and math.ceil(next_ms) or -1, more, claim.token, claim.aborts, epoch, claim.taken, claim.unread,
  claim.mine,
}
