-- Remembers the servers of a cluster's shards, and those that a failover replaced. A log that was last used on a
-- replaced server may lack the newest acknowledged entries, on whichever shard its slot is now.
--
-- KEYS[1] servers   zset: replication id of every primary that was seen -> Unix ms when it was seen first
-- KEYS[2] replaced  zset: replication id of every primary that was replaced -> Unix ms when that was seen
-- ARGV[1] id of a primary that a worker sees for the first time
-- ARGV[2] id of the primary that it took over from, '' = none
-- ARGV[3] seconds for which a log may keep the id of a server that was replaced
-- ARGV[4] ... ids of all primaries that the worker sees now
--
-- Reply: the ids of the replaced servers, the latest ones first.
-- If nobody saw the predecessor of a primary, there was an earlier failover before it. It may have replaced any server
-- that is no longer present, so all of those count as replaced.

local REMEMBERED = 100

local time = redis.call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local function text(number) return string.format('%.0f', number) end

if ARGV[2] ~= '' and not redis.call('ZSCORE', KEYS[1], ARGV[1]) then
  if not redis.call('ZSCORE', KEYS[1], ARGV[2]) then
    local present = {}
    for i = 4, #ARGV do present[ARGV[i]] = true end
    for _, id in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
      if not present[id] then redis.call('ZADD', KEYS[2], text(now_ms), id) end
    end
  end
  redis.call('ZADD', KEYS[2], text(now_ms), ARGV[2])
end
redis.call('ZADD', KEYS[1], 'NX', text(now_ms), ARGV[1])
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -1 - REMEMBERED)
redis.call('ZREMRANGEBYRANK', KEYS[2], 0, -1 - REMEMBERED)
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', text(now_ms - ARGV[3] * 1000))
return redis.call('ZREVRANGE', KEYS[2], 0, -1)
