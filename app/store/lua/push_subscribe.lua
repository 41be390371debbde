-- Add a device to a user's devices. If it belonged to another user before, it no longer does.
--
-- KEYS[1] device  string: user, a line feed, and the subscription
-- KEYS[2] of      zset of the user's devices
-- ARGV[1] the device's name
-- ARGV[2] the user and a line feed
-- ARGV[3] the subscription as JSON, without its first brace: `since` is put before it
-- ARGV[4] seconds to keep the device
-- ARGV[5] seconds to keep the list, which are at least as many
-- ARGV[6] maximum number of devices of a user
-- ARGV[7] Unix seconds now
--
-- `since` is the time at which the device subscribed first. A device that subscribes again keeps it.
--
-- Reply: the names of the devices that the user no longer has, because there were too many.

local known = redis.call('GET', KEYS[1])
local is_own = known and string.sub(known, 1, #ARGV[2]) == ARGV[2]
local since = is_own and string.match(known, '^{"since":([%d.]+),', #ARGV[2] + 1) or ARGV[7]
redis.call('SET', KEYS[1], ARGV[2] .. '{"since":' .. since .. ',' .. ARGV[3], 'EX', ARGV[4])
redis.call('ZADD', KEYS[2], ARGV[7], ARGV[1])
redis.call('EXPIRE', KEYS[2], ARGV[5])
local surplus = redis.call('ZCARD', KEYS[2]) - tonumber(ARGV[6])
if surplus <= 0 then return {} end
local oldest = redis.call('ZRANGE', KEYS[2], 0, surplus - 1)
redis.call('ZREM', KEYS[2], unpack(oldest))
return oldest
