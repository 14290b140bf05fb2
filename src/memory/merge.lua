-- Writes messages of one turn into a conversation.
-- KEYS[1] the conversation: message ids and their JSON, and cleared, created, updated, cut
-- ARGV[1] its time to live, ms  [2] how many messages are kept
-- ARGV[3] when its first and [4] its newest message was kept, ms  [5] 1 if older messages had to go before
-- ARGV[6] the lowest and [7] the highest id of the turn's replies, if they are written all or none; otherwise empty
-- ARGV[8…] id and JSON of each message
-- Answers WRITTEN n mark | KNOWN 0 mark | OTHER 0 mark (the turn is there with other replies) | CLEARED 0 mark
-- One step, because two replicas may bring two versions of a turn at once, and one may forget what another writes.
-- Ids are compared as texts: all are equally long, of digits and capitals, which sort alike in every locale.
local key, most, low, high = KEYS[1], tonumber(ARGV[2]), ARGV[6], ARGV[7]
local mark = redis.call('HGET', key, 'cleared') or ''
local ids = {}
for _, field in ipairs(redis.call('HKEYS', key)) do
  if #field == 26 then
    ids[#ids + 1] = field
  end
end
table.sort(ids)
redis.call('PEXPIRE', key, ARGV[1])

local told = false
for _, id in ipairs(ids) do
  told = told or (low ~= '' and id >= low and id <= high)
end
if told then
  for at = 8, #ARGV, 2 do
    local id = ARGV[at]
    -- What is older than the oldest was cut.
    if id >= low and id <= high and id >= ids[1] and redis.call('HGET', key, id) ~= ARGV[at + 1] then
      return {'OTHER', 0, mark}
    end
  end
  return {'KNOWN', 0, mark}
end

local new, sayable = {}, false
for at = 8, #ARGV, 2 do
  local id = ARGV[at]
  if id > mark then
    sayable = true
    if redis.call('HSETNX', key, id, ARGV[at + 1]) == 1 then
      new[id] = true
      ids[#ids + 1] = id
    end
  end
end
if not sayable then
  return {#ARGV < 8 and 'KNOWN' or 'CLEARED', 0, mark}
end
table.sort(ids)
local cut = ARGV[5] == '1'
while #ids > most do
  redis.call('HDEL', key, ids[1])
  new[table.remove(ids, 1)] = nil
  cut = true
end
if cut then
  redis.call('HSET', key, 'cut', 1)
end
local stayed = 0
for _ in pairs(new) do
  stayed = stayed + 1
end
if stayed > 0 then
  local created, updated = unpack(redis.call('HMGET', key, 'created', 'updated'))
  created = math.min(tonumber(created or ARGV[3]), tonumber(ARGV[3]))
  updated = math.max(tonumber(updated or ARGV[4]), tonumber(ARGV[4]))
  redis.call('HSET', key, 'created', string.format('%.0f', created), 'updated', string.format('%.0f', updated))
end
redis.call('PEXPIRE', key, ARGV[1])
return {stayed > 0 and 'WRITTEN' or 'KNOWN', stayed, mark}
