-- Remove a device from a user's devices. The device of another user stays.
--
-- KEYS[1] device  string: user, a line feed, and the subscription
-- KEYS[2] of      zset of the user's devices
-- ARGV[1] the device's name
-- ARGV[2] the user and a line feed
-- ARGV[3] the exact value to remove, '' = any: a device that has subscribed again since is not removed
--
-- Reply: 1 if the device was removed.

local known = redis.call('GET', KEYS[1])
local is_own = known and string.sub(known, 1, #ARGV[2]) == ARGV[2]
if known and ARGV[3] ~= '' and is_own and known ~= ARGV[3] then return 0 end
redis.call('ZREM', KEYS[2], ARGV[1])
if not is_own then return 0 end
return redis.call('DEL', KEYS[1])
