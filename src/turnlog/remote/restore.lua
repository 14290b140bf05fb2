-- Writes a whole turn as its owner has it, whatever of it is there: it was begun without Redis, or Redis has lost it.
-- KEYS[1] the turn   KEYS[2] its log   KEYS[3] its conversation's newest turn
-- ARGV[1] the turn's id  [2] owner  [3] epoch  [4] status  [5] how long it is kept, ms
-- ARGV[6] how many entries follow  then id and JSON array of each, then fields and values of the turn
-- Answers OK cancel | FENCED | ENDED status
-- One step, because half of a turn would be read as all of it.
local owner, epoch, status, cancel =
  unpack(redis.call('HMGET', KEYS[1], 'owner', 'epoch', 'status', 'cancel'))
if status and not (owner == ARGV[2] and epoch == ARGV[3]) then
  if status ~= 'running' then
    return {'ENDED', status}
  end
  return {'FENCED', ''}
end
if status and status ~= 'running' and ARGV[4] == 'running' then
  return {'ENDED', status}
end
redis.call('DEL', KEYS[2])
local at = 7
for _ = 1, tonumber(ARGV[6]) do
  redis.call('XADD', KEYS[2], ARGV[at], 'e', ARGV[at + 1])
  at = at + 2
end
redis.call('HSET', KEYS[1], unpack(ARGV, at))
if cancel then
  redis.call('HSET', KEYS[1], 'cancel', cancel)
end
redis.call('PEXPIRE', KEYS[1], ARGV[5])
redis.call('PEXPIRE', KEYS[2], ARGV[5])
-- Of two turns that were begun apart, one that runs keeps the conversation, then the newer one.
local newest, how = unpack(redis.call('HMGET', KEYS[3], 'turn', 'status'))
local stays = newest and newest ~= ARGV[1] and (how == 'running' or (newest > ARGV[1] and ARGV[4] ~= 'running'))
if not stays then
  redis.call('HSET', KEYS[3], 'turn', ARGV[1], 'status', ARGV[4])
  redis.call('PEXPIRE', KEYS[3], ARGV[5])
end
return {'OK', cancel or ''}
