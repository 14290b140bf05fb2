-- Begins a turn, unless its conversation is answering another one.
-- KEYS[1] the turn   KEYS[2] its log   KEYS[3] its conversation's newest turn
-- ARGV[1] the turn's id  [2] owner  [3] how long everything is kept, ms  [4] not after this moment, ms, or empty
-- ARGV[5] the first event's id  [6] the first event in a JSON array  [7…] fields and values of the turn
-- Answers OK | SAME (the turn was begun before, by this request arriving late or by somebody who went on with it) | BUSY turn |
-- LATE
-- One step, because between a look at the conversation and the turn's start another replica could start one.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if ARGV[4] ~= '' and now > tonumber(ARGV[4]) then
  return {'LATE', ''}
end
local owner, epoch, state = unpack(redis.call('HMGET', KEYS[1], 'owner', 'epoch', 'status'))
if state then
  if state == 'running' and owner == ARGV[2] and epoch == '1' then
    return {'OK', ''}
  end
  return {'SAME', ''}
end
local busy, status = unpack(redis.call('HMGET', KEYS[3], 'turn', 'status'))
if busy and status == 'running' then
  return {'BUSY', busy}
end
redis.call('HSET', KEYS[1], unpack(ARGV, 7))
redis.call('XADD', KEYS[2], ARGV[5], 'e', ARGV[6])
redis.call('HSET', KEYS[3], 'turn', ARGV[1], 'status', 'running')
for _, key in ipairs(KEYS) do
  redis.call('PEXPIRE', key, ARGV[3])
end
return {'OK', ''}
