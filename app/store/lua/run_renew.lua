-- Renews the leases of a worker's runs, and finds expired leases of all workers.
--
-- KEYS[1] leases   zset: `<user>/<id>` -> Unix ms at which the producer's lease ends
-- ARGV[1] ms until a renewed lease ends
-- ARGV[2] maximum number of expired leases to return
-- ARGV[3] ... runs to renew
--
-- Reply: {those of the worker's runs that have no lease any more, all runs whose lease has expired}

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local function text(number) return string.format('%.0f', number) end

local ended = {}
for i = 3, #ARGV do
  if redis.call('ZSCORE', KEYS[1], ARGV[i]) then
    redis.call('ZADD', KEYS[1], text(now + tonumber(ARGV[1])), ARGV[i])
  else
    ended[#ended + 1] = ARGV[i]
  end
end
return {ended, redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', text(now), 'LIMIT', 0, ARGV[2])}
