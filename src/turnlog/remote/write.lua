-- Writes a batch to a turn's log, ends the turn with it, or gives the turn up.
-- KEYS[1] the turn   KEYS[2] its log   KEYS[3] its conversation's newest turn
-- ARGV[1] owner  [2] epoch  [3] the last id the writer believes the log has
-- ARGV[4] the batch's last id  [5] the batch as a JSON array; both empty: only ask
-- ARGV[6] how the turn ends, or empty  [7] how long it is kept then, ms  [8] '1': give it up  [9] the turn's id
-- Answers OK cancel | RESEND from | FENCED | ENDED status | GONE
-- One step, because the claim that is compared must still hold when the batch is there. The stream's own order is no
-- fence: a stale owner's XADD to a lost key would succeed.
local owner, epoch, last, status, cancel =
  unpack(redis.call('HMGET', KEYS[1], 'owner', 'epoch', 'last', 'status', 'cancel'))
if not status then
  return {'GONE', ''}
end
local is_owner = owner == ARGV[1] and epoch == ARGV[2]
if status ~= 'running' then
  if ARGV[6] ~= '' and is_owner and last == ARGV[4] then
    return {'OK', cancel or ''}
  end
  return {'ENDED', status}
end
-- Given up already: the answer to that got lost.
if ARGV[8] == '1' and owner == '' and epoch == ARGV[2] then
  return {'OK', cancel or ''}
end
if not is_owner then
  return {'FENCED', ''}
end
if last ~= ARGV[3] then
  return {'RESEND', last}
end
if ARGV[4] ~= '' then
  if not redis.call('XADD', KEYS[2], 'NOMKSTREAM', ARGV[4], 'e', ARGV[5]) then
    redis.call('DEL', KEYS[1])
    return {'GONE', ''}
  end
  redis.call('HSET', KEYS[1], 'last', ARGV[4])
end
if ARGV[6] ~= '' then
  redis.call('HSET', KEYS[1], 'status', ARGV[6])
  redis.call('PEXPIRE', KEYS[1], ARGV[7])
  redis.call('PEXPIRE', KEYS[2], ARGV[7])
  if redis.call('HGET', KEYS[3], 'turn') == ARGV[9] then
    redis.call('HSET', KEYS[3], 'status', ARGV[6])
    redis.call('PEXPIRE', KEYS[3], ARGV[7])
  end
end
if ARGV[8] == '1' then
  redis.call('HSET', KEYS[1], 'owner', '')
end
return {'OK', cancel or ''}
