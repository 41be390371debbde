-- Finds a run that was already started under this id. Runs before run_admit.lua and run_start.lua.
--
-- KEYS[4] state    hash of the run
-- KEYS[5] runs     zset: run id -> Unix ms of its start
-- ARGV[1] id
-- ARGV[6] digest of the request
-- ARGV[7] epoch of the log, which is different for each start
--
-- Reply: {'started', Unix ms} if this same start was sent again because its reply was lost: no other producer has the
-- run. Otherwise {'known', whether the digest is the same}, or {'run_gone', -1} if the run has expired. An answer is
-- never generated twice for one id.

local known = redis.call('HMGET', KEYS[4], 'digest', 'epoch', 'started')
local digest = known[1]
if digest and known[2] == ARGV[7] then return {'started', tonumber(known[3])} end
if digest then return {'known', digest == ARGV[6] and 1 or 0} end
if redis.call('ZSCORE', KEYS[5], ARGV[1]) then return {'run_gone', -1} end
