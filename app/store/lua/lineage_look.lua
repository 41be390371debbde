-- Looks whether the server is still the same, and counts failovers: also a log that nobody touches until the server has
-- been started again must know that there was one. Runs after lineage.lua.
--
-- Workers leave a primary that was replaced without knowing it one after the other. What it acknowledged after the first
-- of them had left is lost, and no loss told until then tells of it: so whoever comes later from there, and had a change
-- of a log acknowledged meanwhile, counts as a failover of its own.
--
-- A store without this hash is new or was emptied, by FLUSHALL say. Whoever looks first begins the count with the time
-- of day, or with one more than it knew: no count is used twice, and every worker sees it grow.
--
-- KEYS[1] lineage  hash: id (the replication id at the last look), losses (grows with each failover, and when the store
--                  was emptied), at (Unix ms: nobody had come to this server before, or all who had were told of a loss
--                  later)
-- ARGV[1] the losses that the worker knows of: a server that was set back may have forgotten one; 0 = it never looked
-- ARGV[2] the id that the worker saw before, '' = none
-- ARGV[3] ms since that one acknowledged its last change of a log, as the worker's clock runs; '' = it never did
-- ARGV[4] ms for which workers may have been here without having looked: twice as long as the last look is ago
--
-- Reply: {id, losses}

local id, info = replication()
redis.call('PERSIST', KEYS[1]) -- so that a store without room does not refuse what follows
local known = redis.call('HMGET', KEYS[1], 'id', 'losses', 'at')
local time = redis.call('TIME')
local losses = known[2] and math.max(tonumber(known[2]), tonumber(ARGV[1])) or math.max(tonumber(time[1]), ARGV[1] + 1)
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

local came_late = known[1] == id and ARGV[2] ~= '' and ARGV[2] ~= id and ARGV[3] ~= ''
  and now_ms - tonumber(ARGV[3]) >= tonumber(known[3] or 0)

if known[1] ~= id or came_late then
  if took_over(info) then losses = losses + 1 end
  local at = came_late and now_ms or now_ms - tonumber(ARGV[4])
  redis.call('HSET', KEYS[1], 'id', id, 'losses', losses, 'at', text(at))
elseif losses > tonumber(known[2] or 0) then
  redis.call('HSET', KEYS[1], 'losses', losses)
end
return {id, losses}
