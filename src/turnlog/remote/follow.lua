-- Reads on in a turn's log.
-- KEYS[1] the turn   KEYS[2] its log
-- ARGV[1] the position to read from, exclusively  [2] how many entries at most
-- Answers the turn's status, empty if it is not known, and the JSON arrays of the entries.
-- One step, because a turn that looks ended must show its end.
local entries = {}
for _, entry in ipairs(redis.call('XRANGE', KEYS[2], '(' .. ARGV[1], '+', 'COUNT', ARGV[2])) do
  entries[#entries + 1] = entry[2][2]
end
return {redis.call('HGET', KEYS[1], 'status') or '', entries}
