-- Decides all policies of a request as one: all are counted, or, if one refuses, none. Or looks only.
--
-- KEYS[i]      what the i-th policy has counted of its subject
-- ARGV[1]      'count' or 'look'
-- ARGV[3i-1]   the i-th policy's strategy: 'fixed_window' or 'gcra'
-- ARGV[3i]     its quota
-- ARGV[3i+1]   fixed_window: its window in µs; gcra: the time in which one comes back, in ns
--
-- Answers three numbers for each policy: how many more it would allow; the µs until its quota is whole again; the µs
-- until it would allow one, or -1 if it does now.
--
-- Reads the clock of Redis: replicas disagree about the time, Redis does not. One script, because between a read and a
-- write somebody else would decide. What is kept holds its own end, to the µs; the time to live only cleans up.
--
-- Numbers are doubles here, whole up to 2^53: enough for the µs since 1970 and for 104 days in ns, but not for the ns
-- since 1970. So what gcra keeps is a moment in µs, and the ns above it.

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

local function kept(key)
  local first, second = string.match(redis.call('GET', key) or '', '^(%d+):(%d+)$')
  return tonumber(first), tonumber(second)
end

local function keep(key, first, second, microseconds)
  local value = string.format('%.0f:%.0f', first, second)
  redis.call('SET', key, value, 'PX', string.format('%.0f', math.ceil(microseconds / 1000) + 1))
end

local strategies = { fixed_window = {}, gcra = {} }

-- Kept: when the window ends, and how many it has counted.
function strategies.fixed_window.look(key, quota, window)
  local ends, used = kept(key)
  if not ends or ends <= now then
    return { left = quota, whole = 0, wait = -1, ends = now + window, used = 0 }
  end
  -- A clock that was set back, or a policy that was made shorter, locks nobody out for longer than a window.
  ends = math.min(ends, now + window)
  local left = math.max(quota - used, 0)
  return { left = left, whole = ends - now, wait = left > 0 and -1 or ends - now, ends = ends, used = used }
end

function strategies.fixed_window.count(key, quota, _, seen)
  local used, rest = seen.used + 1, seen.ends - now
  keep(key, seen.ends, used, rest)
  return { left = quota - used, whole = rest, wait = -1 }
end

-- Kept: the theoretical arrival time, at which the quota is whole again. `ahead` is how far off that is, in ns.
function strategies.gcra.look(key, quota, period)
  local whole = quota * period
  local arrival, rest = kept(key)
  local ahead = arrival and math.max((arrival - now) * 1000 + rest, 0) or 0
  ahead = math.min(ahead, whole)
  -- Rounded up, so that who waits as told is not refused for a fraction of a µs.
  local wait = math.ceil((ahead + period - whole) / 1000)
  local left = math.floor((whole - ahead) / period)
  return { left = left, whole = math.ceil(ahead / 1000), wait = wait > 0 and wait or -1, ahead = ahead }
end

function strategies.gcra.count(key, quota, period, seen)
  local ahead = seen.ahead + period
  local microseconds = math.floor(ahead / 1000)
  keep(key, now + microseconds, ahead - microseconds * 1000, microseconds)
  return { left = math.floor((quota * period - ahead) / period), whole = math.ceil(ahead / 1000), wait = -1 }
end

local function each(decide)
  local found = {}
  for i, key in ipairs(KEYS) do
    found[i] = decide(strategies[ARGV[3 * i - 1]], key, tonumber(ARGV[3 * i]), tonumber(ARGV[3 * i + 1]), i)
  end
  return found
end

local found = each(function(strategy, ...) return strategy.look(...) end)
local counts = ARGV[1] == 'count'
for _, seen in ipairs(found) do
  counts = counts and seen.wait < 0
end
if counts then
  local seen = found
  found = each(function(strategy, key, quota, span, i) return strategy.count(key, quota, span, seen[i]) end)
end

local answer = {}
for _, standing in ipairs(found) do
  answer[#answer + 1] = standing.left
  answer[#answer + 1] = standing.whole
  answer[#answer + 1] = standing.wait
end
return answer
