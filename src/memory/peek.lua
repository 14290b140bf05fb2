-- Looks at a conversation, which is no use of it.
-- KEYS[1] the conversation
-- Answers how many messages are kept, and when the first and the newest were
-- One step, so that the numbers belong together.
local said = 0
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
  if #field == 26 then
    said = said + 1
  end
end
local created, updated = unpack(redis.call('HMGET', KEYS[1], 'created', 'updated'))
return {said, created or '', updated or ''}
