-- A claimed job was done, or is given up. Runs after timers.lua.
--
-- KEYS[3] of    zset of what its publisher scheduled
-- KEYS[4] done  string: what became of this id
-- ARGV[1] id
-- ARGV[2] the number of the claim
-- ARGV[3] the state it is remembered by
-- ARGV[4] seconds to remember the id
--
-- Reply: 1, or 0 where another claim has the job, or it is over.

local job = redis.call('HGET', jobs, ARGV[1])
if not job then return 0 end
local _, _, _, call = parts(job)
if call ~= ARGV[2] then return 0 end
settle(ARGV[1], ARGV[3], job, KEYS[3], KEYS[4], ARGV[4])
return 1
