-- Forgets a conversation up to a mark, which stays and only ever rises.
-- KEYS[1] the conversation   ARGV[1] its time to live, ms  [2] up to which id it is forgotten
-- Answers how many messages went, and the mark
-- One step, because a message may be written between the mark and the forgetting.
local key = KEYS[1]
local mark = redis.call('HGET', key, 'cleared') or ''
if ARGV[2] > mark then
  mark = ARGV[2]
end
local gone, stay = {}, 0
for _, field in ipairs(redis.call('HKEYS', key)) do
  if #field == 26 and field <= mark then
    gone[#gone + 1] = field
  elseif #field == 26 then
    stay = stay + 1
  end
end
if #gone > 0 then
  redis.call('HDEL', key, unpack(gone))
end
if stay == 0 then
  redis.call('HDEL', key, 'created', 'updated', 'cut')
elseif #gone > 0 then
  redis.call('HSET', key, 'cut', 1)
end
redis.call('HSET', key, 'cleared', mark)
redis.call('PEXPIRE', key, ARGV[1])
return {#gone, mark}
