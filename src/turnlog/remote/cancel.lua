-- Asks a turn's owner to end it; the first reason stands.
-- KEYS[1] the turn   ARGV[1] the reason
-- Answers the turn's status, or nothing.
-- One step, because a turn that has ended is not to be marked.
local status = redis.call('HGET', KEYS[1], 'status')
if status == 'running' then
  redis.call('HSETNX', KEYS[1], 'cancel', ARGV[1])
end
return status
