-- Decides which turn an idempotency key stands for; who gets the key then has a second to accept that turn.
-- KEYS[1] the key
-- ARGV[1] the turn that wants it  [2] hash of its body  [3] how long it is kept, ms
-- ARGV[4] a turn that is known not to exist, whose claim is void once it is old enough, or empty  [5] old enough, ms
-- Answers MINE since | HELD turn body age
-- One step, because two replicas that are sent the same key at once must get the same answer. A step of its own, because
-- the key must be found without a conversation, so it is in another slot than the turn.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local turn, body, since = unpack(redis.call('HMGET', KEYS[1], 'turn', 'body', 'since'))
if turn == ARGV[1] then
  return {'MINE', since, '', ''}
end
if turn then
  local age = now - tonumber(since)
  if turn ~= ARGV[4] or age < tonumber(ARGV[5]) then
    return {'HELD', turn, body, tostring(age)}
  end
end
local text = string.format('%.0f', now)
redis.call('HSET', KEYS[1], 'turn', ARGV[1], 'body', ARGV[2], 'since', text)
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return {'MINE', text, '', ''}
