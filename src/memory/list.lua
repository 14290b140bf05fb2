-- Puts a conversation into its owner's list, or moves it up.
-- KEYS[1] the list: conversation ids, scored by when they were spoken in
-- ARGV[1] the list's time to live, ms  [2] how many it holds  [3] when the conversation was spoken in, ms  [4] its id
-- One step, so that a list is never longer or older than it may be.
redis.call('ZADD', KEYS[1], 'GT', ARGV[3], ARGV[4])
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -1 - ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[1])
