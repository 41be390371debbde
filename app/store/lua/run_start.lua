-- Starts an admitted run: writes its state, an empty log, and its place among the user's runs. Runs after lineage.lua
-- and run_admit.lua.
--
-- KEYS[6] meta     hash of the run's log, see open.lua
-- KEYS[7] log      stream
-- ARGV[7] epoch of the log
-- ARGV[8] seconds to keep the run
-- ARGV[9] seconds to remember the id of the run
-- ARGV[10] where in ARGV the further fields of the state begin, name and value
--
-- Reply: {'started', Unix ms}

redis.call('DEL', KEYS[7])
redis.call('HSET', KEYS[6], 'epoch', ARGV[7], 'top', 0, 'oldest', 1, 'lineage', (replication()))
redis.call('HSET', KEYS[4], 'status', 'running', 'digest', ARGV[6], 'epoch', ARGV[7], 'started', text(now),
  unpack(ARGV, tonumber(ARGV[10])))
redis.call('EXPIRE', KEYS[6], ARGV[8])
redis.call('EXPIRE', KEYS[4], ARGV[8])
redis.call('ZREMRANGEBYSCORE', KEYS[5], '-inf', text(now - tonumber(ARGV[9]) * 1000))
redis.call('ZADD', KEYS[5], text(now), ARGV[1])
redis.call('EXPIRE', KEYS[5], ARGV[9])
return {'started', now}
