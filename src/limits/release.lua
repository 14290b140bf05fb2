-- Gives a place back, and forgets that it was lost.
--
-- KEYS[1]   the principal's places
-- KEYS[2]   holders whose place a newer one took
-- ARGV[1]   the holder

return redis.call('ZREM', KEYS[1], ARGV[1]) + redis.call('ZREM', KEYS[2], ARGV[1])
