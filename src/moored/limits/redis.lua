-- One limiter that many processes share.  moored/limits/gcra.py is the same arithmetic, explained.
--
-- KEYS[1]  a hash: all that is known about the limiter
-- ARGV[1]  the request, as JSON:
--   rates    {name, seconds per unit, burst} for each dimension
--   process  who asks
--   longest  seconds after which a process that waits asks again in any case
--   pause    seconds for which to grant nothing; 0 for none
--   lower    {name, units} for each dimension of which the server has no more left
--   settle   {identity, ticket, {name, units more (or, negative, less) than reserved} ...}
--   take     {{name, units} for each dimension} for each of the first that wait in the process
--   leave    whether the process waits no more, granted or not
--
-- Answers with strings: the hash's identity, the ticket of what was taken (or 0), for how many of
-- those who wait it was, the seconds after which the next should ask, the seconds of the pause, and
-- the units in each bucket.
--
-- Of each process only the first in line asks, for some of the next too: those are granted, in order
-- and up to the first that does not fit, what is left when the others have theirs.  The first of each
-- process stand in a line of their own, in the order in which they came, and what those before need
-- is kept for them: else one that needs much would starve beside others that need little.  A place is
-- lost when its process does not come back in time.

local GRACE = 0.5
local SOON = 0.002
local MOST_LOWS = 64

local key = KEYS[1]
local ask = cjson.decode(ARGV[1])
local state = {}
local flat = redis.call('HGETALL', key)
for i = 1, #flat, 2 do
  state[flat[i]] = flat[i + 1]
end
local set = {}
local gone = {}

local function text(number)
  return string.format('%.17g', number)
end

-- Seconds since this hash came to be: small numbers, which keep their fractions.  The server's clock
-- may be set back; ours stands still then.
local time = redis.call('TIME')
local identity = state.identity
local now
if identity then
  now = time[1] - state.base + time[2] / 1e6 + state.shift
  local behind = state.last - now
  if behind > 0 then
    now = now + behind
    set.shift = text(state.shift + behind)
  end
else
  identity = time[1] .. '.' .. time[2]
  now = time[2] / 1e6
  set.identity = identity
  set.base = time[1]
  set.shift = '0'
end
set.last = text(now)

-- ------------------------------------------------------------------------------------- buckets

local buckets = {}
local named = {}
for i, rate in ipairs(ask.rates) do
  local lows = {}
  for first, low in string.gmatch(state['lows:' .. rate[1]] or '', '(%S+):(%S+)') do
    lows[#lows + 1] = {tonumber(first), tonumber(low)}
  end
  local bucket = {
    name = rate[1],
    unit = rate[2],
    burst = rate[3],
    tat = tonumber(state['tat:' .. rate[1]] or 0),
    lows = lows,
  }
  buckets[i] = bucket
  named[rate[1]] = bucket
end

local function deficit(bucket)
  return math.max(0, bucket.tat - now)
end

local function lower(bucket, first, low)
  local lows = bucket.lows
  while #lows > 0 and lows[#lows][2] >= low do
    first = table.remove(lows)[1]
  end
  if first and low > 0 then
    lows[#lows + 1] = {first, low}
  end
end

local function charge(bucket, units)
  lower(bucket, nil, deficit(bucket))
  bucket.tat = math.max(bucket.tat, now) + units * bucket.unit
end

local function give_back(bucket, ticket, units)
  lower(bucket, nil, deficit(bucket))
  local lows = bucket.lows
  local place = #lows
  while place > 0 and lows[place][1] > ticket do
    place = place - 1
  end
  if place == 0 then
    return
  end
  local first, low = lows[place][1], lows[place][2]
  local returned = math.min(units * bucket.unit, low)
  bucket.tat = bucket.tat - returned
  local later = {}
  while #lows > place do
    table.insert(later, 1, table.remove(lows))
  end
  table.remove(lows)
  lower(bucket, first, low - returned)
  for _, entry in ipairs(later) do
    lows[#lows + 1] = {entry[1], entry[2] - returned}
  end
end

local function remember(bucket, ticket)
  local lows = bucket.lows
  lows[#lows + 1] = {ticket, 1e300}
  if #lows > MOST_LOWS then
    local least = 2
    for i = 3, #lows - 1 do
      if lows[i][2] - lows[i - 1][2] < lows[least][2] - lows[least - 1][2] then
        least = i
      end
    end
    table.remove(lows, least)
  end
end

-- ------------------------------------------------------------------------------------- the line

local line = {} -- who waits: {process, since, until when its place is kept, {[name] = units}}
for field, value in pairs(state) do
  local process = string.match(field, '^waits:(.*)$')
  if process then
    local waits = cjson.decode(value)
    if tonumber(waits[2]) < now then
      gone[#gone + 1] = field
    else
      line[process] = {since = tonumber(waits[1]), kept = tonumber(waits[2]), costs = waits[3]}
    end
  end
end

local paused_until = tonumber(state.paused or 0)

local function is_ahead(process, other)
  local mine, theirs = line[process], line[other]
  if process == other or not mine then
    return process ~= other
  end
  return theirs.since < mine.since or (theirs.since == mine.since and other < process)
end

-- When a process can have its costs, after all that are ahead of it; and whether any are.
local function ready(process, costs)
  local ahead = false
  local sums = {}
  for name, units in pairs(costs) do
    sums[name] = units
  end
  for other, waits in pairs(line) do
    if is_ahead(process, other) then
      ahead = true
      for name, units in pairs(waits.costs) do
        sums[name] = (sums[name] or 0) + units
      end
    end
  end
  local at = paused_until
  for name, units in pairs(sums) do
    local bucket = named[name]
    if bucket and (costs[name] or 0) > 0 then
      at = math.max(at, bucket.tat + (units - bucket.burst) * bucket.unit)
    end
  end
  return at, ahead
end

-- Not longer than this: what others give back is seen only by asking.  A pause is never shortened.
local function sleep_until(at, ahead)
  local wait = math.max(at - now, ahead and SOON or 0)
  return math.max(math.min(wait, ask.longest), paused_until - now)
end

-- ------------------------------------------------------------------------------------- the request

if ask.pause > 0 then
  paused_until = math.max(paused_until, now + ask.pause)
end
set.paused = text(paused_until)

for _, settled in ipairs(ask.settle) do
  for i = 3, #settled do
    local bucket, units = named[settled[i][1]], settled[i][2]
    if bucket and units > 0 then
      charge(bucket, units)
    elseif bucket and settled[1] == identity then
      give_back(bucket, settled[2], -units)
    end
  end
end

for _, left in ipairs(ask.lower) do
  local bucket = named[left[1]]
  local excess = bucket.burst - deficit(bucket) / bucket.unit - left[2]
  if excess > 0 then
    charge(bucket, excess)
  else
    lower(bucket, nil, deficit(bucket))
  end
  -- What was taken before does not come back beyond what the server has.
  lower(bucket, nil, math.max(0, -excess) * bucket.unit)
end

local ticket = 0
local granted = 0
local wait = 0
local waits_field = 'waits:' .. ask.process
for _, wanted in ipairs(ask.take) do
  local costs = {}
  for _, cost in ipairs(wanted) do
    costs[cost[1]] = cost[2]
  end
  local at, ahead = ready(ask.process, costs)
  if at > now then
    wait = sleep_until(at, ahead)
    local mine = line[ask.process] or {since = now}
    mine.kept = now + wait + GRACE
    mine.costs = costs
    line[ask.process] = mine
    break
  end
  granted = granted + 1
  for name, units in pairs(costs) do
    charge(named[name], units)
  end
  line[ask.process] = nil -- its next one comes after those of the others
end
if granted > 0 then -- together they have one ticket: what any gives back may come back
  ticket = (state.ticket or 0) + 1
  set.ticket = text(ticket)
  for _, bucket in ipairs(buckets) do
    remember(bucket, ticket)
  end
end
if #ask.take == 0 and line[ask.process] then
  wait = sleep_until(ready(ask.process, line[ask.process].costs))
end
if ask.leave then
  line[ask.process] = nil
end
local mine = line[ask.process]
if mine then
  set[waits_field] = cjson.encode({text(mine.since), text(mine.kept), mine.costs})
elseif state[waits_field] then
  gone[#gone + 1] = waits_field
end

-- ------------------------------------------------------------------------------------- the answer

-- Once all is full and nobody waits, there is nothing to remember.
local matters_until = paused_until
local paused_for = math.max(0, paused_until - now)
local answer = {identity, text(ticket), text(granted), text(wait), text(paused_for)}
for i, bucket in ipairs(buckets) do
  matters_until = math.max(matters_until, bucket.tat)
  answer[#answer + 1] = text(bucket.burst - deficit(bucket) / bucket.unit)
  local lows = {}
  for j, entry in ipairs(bucket.lows) do
    lows[j] = text(entry[1]) .. ':' .. text(entry[2])
  end
  set['tat:' .. bucket.name] = text(bucket.tat)
  set['lows:' .. bucket.name] = table.concat(lows, ' ')
end
for _, waits in pairs(line) do
  matters_until = math.max(matters_until, waits.kept)
end

local fields = {}
for field, value in pairs(set) do
  fields[#fields + 1] = field
  fields[#fields + 1] = value
end
redis.call('HSET', key, unpack(fields))
if #gone > 0 then
  redis.call('HDEL', key, unpack(gone))
end
-- Never sooner than another limiter of the same name wants it, which may have other dimensions.
local expiry = math.ceil((matters_until - now) * 1000) + 1000
redis.call('PEXPIRE', key, text(math.max(expiry, redis.call('PTTL', key))))
return answer
