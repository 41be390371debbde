-- Return the format of the stored data. From now on, the stored format is at least the worker's format.
--
-- KEYS[1] string: the number of the format
-- ARGV[1] the number of the worker's format
--
-- Reply: the number that was stored before, '' = none

local stored = redis.call('GET', KEYS[1]) or ''
local number = tonumber(stored)
-- a full store refuses this
if stored == '' or number and number < tonumber(ARGV[1]) then redis.pcall('SET', KEYS[1], ARGV[1]) end
return stored
