"""The Lua script by which budgets are kept in Redis."""

from __future__ import annotations

__all__ = ["SCRIPT"]

# The arithmetic is that of moored.chat.ledger: nanodollars and microseconds, all below 2**53, where
# doubles are exact.  Numbers become text by "%.0f", since Lua's own way is not exact.
#
# KEYS  spent  a hash: what was spent, by bucket, and the sum of what is reserved
#       held   a sorted set: reservations ("id:amount"), by when their leases end
#       late   a sorted set: those whose leases ended, which may yet be settled
#       done   a sorted set: those that must not be counted again, by when they were settled
#
# A reservation settles once: it is taken from held or from late.  One of which its process does not
# know whether it was made ("unsure") leaves its name in done.  So a reservation that comes after
# its own release does nothing, and a settlement that is sent twice counts once.
SCRIPT = r"""
local spent_key, held, late, done = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local operation = ARGV[1]
local limit, window, width = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local lease = tonumber(ARGV[5])
local member, amount = ARGV[6], tonumber(ARGV[7])

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])

local function text(number)
  return string.format('%.0f', number)
end

local function add(field, nanodollars)
  if nanodollars ~= 0 then -- minus 0 would be written as "-0", which is no integer
    redis.call('HINCRBY', spent_key, field, text(nanodollars))
  end
end

local function bucket(microseconds)
  if window == 0 then return '0' end
  return text(math.floor(microseconds / width))
end

local function remove_older(key, seconds)
  redis.call('ZREMRANGEBYSCORE', key, '-inf', text(now - seconds * 1000000))
end

-- Reservations whose leases have ended are spent, from then on.
local ended = redis.call('ZRANGEBYSCORE', held, '-inf', text(now), 'WITHSCORES', 'LIMIT', 0, 1000)
for index = 1, #ended, 2 do
  local reserved = tonumber(string.match(ended[index], ':(%d+)$'))
  redis.call('ZREM', held, ended[index])
  redis.call('ZADD', late, ended[index + 1], ended[index])
  add('reserved', -reserved)
  add(bucket(tonumber(ended[index + 1])), reserved)
end
remove_older(late, 86400)
remove_older(done, 86400)

local function settle()
  local actual, unsure = tonumber(ARGV[8]), ARGV[9] == '1'
  local late_since = redis.call('ZSCORE', late, member)
  local fresh = not unsure or redis.call('ZADD', done, 'NX', text(now), member) == 1
  if redis.call('ZREM', held, member) == 1 then
    add('reserved', -amount)
  elseif late_since then
    redis.call('ZREM', late, member)
    add(bucket(tonumber(late_since)), -amount)
  elseif not unsure or not fresh then
    return -- settled before
  end
  add(bucket(now), actual)
end

if operation == 'settle' then settle() end

local spent, reserved, buckets = 0, 0, {}
local oldest = window > 0 and math.floor((now - window) / width) or 0
local fields = redis.call('HGETALL', spent_key)
for index = 1, #fields, 2 do
  local field, value = fields[index], tonumber(fields[index + 1])
  if field == 'reserved' then
    reserved = value
  elseif tonumber(field) < oldest then
    redis.call('HDEL', spent_key, field)
  else
    spent = spent + value
    buckets[#buckets + 1] = {tonumber(field), value}
  end
end

local granted, retry_after = 0, -1
if operation == 'reserve' and not redis.call('ZSCORE', done, member) then
  local lacking = spent + reserved + amount - limit
  if redis.call('ZSCORE', held, member) then
    granted = 1 -- asked twice
  elseif amount == 0 or lacking <= 0 then
    granted = 1
    redis.call('ZADD', held, text(now + lease), member)
    add('reserved', amount)
    reserved = reserved + amount
  elseif window > 0 then
    table.sort(buckets, function(one, other) return one[1] < other[1] end)
    for _, each in ipairs(buckets) do
      lacking = lacking - each[2]
      if lacking <= 0 then
        retry_after = (each[1] + 1) * width + window - now
        break
      end
    end
  end
end

-- Without a window a budget is kept for ever; with one, for as long as it matters.
if window > 0 then
  for _, key in ipairs(KEYS) do
    redis.call('PEXPIRE', key, text(math.ceil((window + width + lease) / 1000) + 1000))
  end
end
return {granted, retry_after, spent, reserved}
"""
