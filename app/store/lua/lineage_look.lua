-- Looks whether the server is still the same, and counts failovers: also a log that nobody touches until the server has
-- been started again must know that there was one. Runs after lineage.lua.
--
-- KEYS[1] lineage  hash: id (the replication id at the last look), losses (failovers)
-- ARGV[1] failovers that the worker knows of: a server that was set back may have forgotten one
--
-- Reply: {id, losses}

local id, info = replication()
redis.call('PERSIST', KEYS[1]) -- so that a store without room does not refuse what follows
local known = redis.call('HMGET', KEYS[1], 'id', 'losses')
local losses = math.max(tonumber(known[2] or 0), tonumber(ARGV[1]))
if known[1] ~= id then
  if took_over(info) then losses = losses + 1 end
  redis.call('HSET', KEYS[1], 'id', id, 'losses', losses)
elseif losses > tonumber(known[2]) then
  redis.call('HSET', KEYS[1], 'losses', losses)
end
return {id, losses}
