-- Takes one of a principal's places.
--
-- KEYS[1]   the principal's places: holders by the ms at which their time runs out
-- KEYS[2]   holders whose place a newer one took, by the ms until which that is remembered
-- ARGV[1]   the holder
-- ARGV[2]   how many places there are
-- ARGV[3]   for how many ms
-- ARGV[4]   for how many ms keys are kept, which only cleans up
-- ARGV[5]   'refuse' or 'replace_oldest': what is done when all are taken
--
-- Answers how many places had run out; whether a place was given; who lost one for it, or nothing; the ms until the first
-- place runs out, if none was given.
--
-- Reads the clock of Redis: replicas disagree about the time, Redis does not. One script, because two that count before
-- either has taken its place would both find room.

local holder, most, ttl = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function whole(number)
  return string.format('%.0f', number)
end

local function put(key, expires, member)
  redis.call('ZADD', key, whole(expires), member)
  redis.call('PEXPIRE', key, ARGV[4])
end

-- Ids grow with the time at which they were made.
local function oldest()
  local first
  for _, member in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
    if not first or member < first then
      first = member
    end
  end
  return first
end

local died = redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', whole(now))
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', whole(now))
redis.call('ZREM', KEYS[2], holder)

local replaced = false
if not redis.call('ZSCORE', KEYS[1], holder) and redis.call('ZCARD', KEYS[1]) >= most then
  replaced = ARGV[5] == 'replace_oldest' and oldest()
  if not replaced then
    local first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2]
    return { died, 0, false, first and tonumber(first) - now or ttl }
  end
  redis.call('ZREM', KEYS[1], replaced)
  -- Its holder renews before its own time runs out, so it is told by then.
  put(KEYS[2], now + ttl, replaced)
end
put(KEYS[1], now + ttl, holder)
return { died, 1, replaced, 0 }
