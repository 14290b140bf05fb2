-- Gives an idempotency key back: the turn that had it was refused, and a refusal uses nothing up.
-- KEYS[1] the key   ARGV[1] the turn
-- One step, because the key may lead to another turn meanwhile.
if redis.call('HGET', KEYS[1], 'turn') == ARGV[1] then
  redis.call('DEL', KEYS[1])
end
return 1
