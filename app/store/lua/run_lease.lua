-- Gives a lease to a run that is about to start or has lost its lease. An existing lease stays as it is.
--
-- KEYS[1] leases   zset, see run_renew.lua
-- ARGV[1] ms until the lease ends
-- ARGV[2] run

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
return redis.call('ZADD', KEYS[1], 'NX', string.format('%.0f', now + tonumber(ARGV[1])), ARGV[2])
