-- Which format the data have that are stored, and from now on at least the worker's.
--
-- KEYS[1] string: the number of the format
-- ARGV[1] the number of the worker's format
--
-- Reply: what was stored before, '' = nothing

local stored = redis.call('GET', KEYS[1]) or ''
local number = tonumber(stored)
if stored == '' or number and number < tonumber(ARGV[1]) then redis.pcall('SET', KEYS[1], ARGV[1]) end -- a full store refuses
return stored
