-- Gives a sign of life, and looks who else does.
-- KEYS[1] every replica's sign   KEYS[2] a text that tells one life of Redis' data from another
-- ARGV[1] who we are  [2] our sign  [3] a text for data that has none yet
-- Answers the time in ms, the data's text, and every replica with its sign.
-- One step, because who lists the replicas must be among them.
local time = redis.call('TIME')
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('SET', KEYS[2], ARGV[3], 'NX')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
return {now, redis.call('GET', KEYS[2]), redis.call('HGETALL', KEYS[1])}
