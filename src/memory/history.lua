-- Reads a conversation, which is a use.
-- KEYS[1] the conversation   ARGV[1] its time to live, ms
-- Answers every field and its value
-- One step, so that what was read does not expire before it was renewed.
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return redis.call('HGETALL', KEYS[1])
