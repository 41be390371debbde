-- Finish a claimed job that was done or given up. Runs after timers.lua.
--
-- KEYS[3] of    zset of what its publisher scheduled
-- KEYS[4] done  string: the outcome of this id
-- ARGV[1] id
-- ARGV[2] the number of the claim
-- ARGV[3] the final state to remember
-- ARGV[4] seconds to remember the id
--
-- Reply: 1, or 0 if another claim has the job or the job is over.

local job = redis.call('HGET', jobs, ARGV[1])
if not job then return 0 end
local _, _, _, call = parts(job)
if call ~= ARGV[2] then return 0 end
settle(ARGV[1], ARGV[3], job, KEYS[3], KEYS[4], ARGV[4])
return 1
