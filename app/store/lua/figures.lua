-- Adds one worker's counts to the sums of all workers, in the current time span.
--
-- KEYS[1] sums     hash: slot (Unix time / length of a slot), and the sums by name
-- ARGV[1] seconds of a slot
-- ARGV[2] ... name, number
--
-- Reply: {Unix ms, sums}. If this call began a new slot, sums are those of the previous slot, otherwise they are empty.
-- The worker that gets sums closes that slot. So every slot is closed once, by any worker.

local time = redis.call('TIME')
local slot = string.format('%.0f', math.floor(tonumber(time[1]) / tonumber(ARGV[1])))
local open = redis.call('HGET', KEYS[1], 'slot')
local closed = {}
if open ~= slot then
  closed = open and redis.call('HGETALL', KEYS[1]) or closed
  redis.call('DEL', KEYS[1])
  redis.call('HSET', KEYS[1], 'slot', slot)
end
for i = 2, #ARGV, 2 do redis.call('HINCRBY', KEYS[1], ARGV[i], ARGV[i + 1]) end
redis.call('EXPIRE', KEYS[1], 3600)
return {string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000)), closed}
