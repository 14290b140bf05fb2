-- Answers how many of a principal's places are taken, by the clock of Redis.
--
-- KEYS[1]   the principal's places

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
return redis.call('ZCOUNT', KEYS[1], string.format('(%.0f', now), '+inf')
