-- Takes conversations that are gone from their owner's list.
-- KEYS[1] the list   ARGV[…] id, and up to which moment it was gone, of each
-- One step, because one that is spoken in meanwhile has to stay.
for at = 1, #ARGV, 2 do
  local score = redis.call('ZSCORE', KEYS[1], ARGV[at])
  if score and tonumber(score) <= tonumber(ARGV[at + 1]) then
    redis.call('ZREM', KEYS[1], ARGV[at])
  end
end
