-- Answers who has a principal's places, by the clock of Redis.
--
-- KEYS[1]   the principal's places
-- ARGV[1]   how many at most
--
-- One step, because the time has to be the one the places are scored by.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
return redis.call('ZRANGEBYSCORE', KEYS[1], string.format('(%.0f', now), '+inf', 'LIMIT', 0, ARGV[1])
