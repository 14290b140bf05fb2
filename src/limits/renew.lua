-- Prolongs the places of several holders. One that ran out comes back, even if all are taken by now: its holder is there.
--
-- KEYS[2i-1]   the places of the i-th holder's principal
-- KEYS[2i]     holders of that principal whose place a newer one took
-- ARGV[1]      for how many ms
-- ARGV[2]      for how many ms keys are kept, which only cleans up
-- ARGV[i+2]    the i-th holder
--
-- Answers the holders that lost their place to a newer one.
--
-- One script for all, because a replica has thousands of sockets; all keys of places are in one slot.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local expires = string.format('%.0f', now + ARGV[1])

local lost = {}
for i = 1, #ARGV - 2 do
  local places, holder = KEYS[2 * i - 1], ARGV[i + 2]
  local told_until = redis.call('ZSCORE', KEYS[2 * i], holder)
  if told_until and tonumber(told_until) > now then
    lost[#lost + 1] = holder
  else
    redis.call('ZADD', places, expires, holder)
    redis.call('PEXPIRE', places, ARGV[2])
  end
end
return lost
