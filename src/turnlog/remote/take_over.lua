-- Gives a turn to a new owner, in a new epoch that begins with the resets of what is not durably finished.
-- KEYS[1] the turn   KEYS[2] its log
-- ARGV[1] the epoch it was last seen in  [2] the last id the resets were made from  [3] the new owner
-- ARGV[4] the resets as a JSON array with @ in the place of the epoch  [5] how many they are
-- Answers OK epoch takeovers owner | MOVED | LOST | ENDED status
-- One step, because of two that try only one may win. The epoch is Redis' time, so that one that a failover has lost is
-- not given out again.
local owner, epoch, last, status, takeovers =
  unpack(redis.call('HMGET', KEYS[1], 'owner', 'epoch', 'last', 'status', 'takeovers'))
if not status or epoch ~= ARGV[1] then
  return {'LOST', '', '', ''}
end
if status ~= 'running' then
  return {'ENDED', status, '', ''}
end
if last ~= ARGV[2] then
  return {'MOVED', '', '', ''}
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local new = string.format('%.0f', math.max(now, tonumber(epoch) + 1))
if tonumber(ARGV[5]) > 0 then
  last = new .. '-' .. ARGV[5]
  local resets = string.gsub(ARGV[4], '@', new)
  redis.call('XADD', KEYS[2], last, 'e', resets)
end
redis.call('HSET', KEYS[1], 'owner', ARGV[3], 'epoch', new, 'last', last, 'takeovers', takeovers + 1)
return {'OK', new, takeovers, owner}
