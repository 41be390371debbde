-- Add a device to a user's devices. If it belonged to another user before, it no longer does.
--
-- KEYS[1] device  string: user, a line feed, and the subscription
-- KEYS[2] of      zset of the user's devices
-- ARGV[1] the device's name
-- ARGV[2] the value of the string
-- ARGV[3] seconds to keep the device
-- ARGV[4] seconds to keep the list, which are at least as many
-- ARGV[5] maximum number of devices of a user
-- ARGV[6] Unix seconds now
--
-- Reply: the names of the devices that the user no longer has, because there were too many.

redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
redis.call('ZADD', KEYS[2], ARGV[6], ARGV[1])
redis.call('EXPIRE', KEYS[2], ARGV[4])
local surplus = redis.call('ZCARD', KEYS[2]) - tonumber(ARGV[5])
if surplus <= 0 then return {} end
local oldest = redis.call('ZRANGE', KEYS[2], 0, surplus - 1)
redis.call('ZREM', KEYS[2], unpack(oldest))
return oldest
