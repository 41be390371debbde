-- End a claimed push, or have it taken again later. Runs after timers.lua.
--
-- KEYS[3] done  string: exists while it is remembered that the push was stored, '2' if a publish was repeated
-- KEYS[4] channel
-- ARGV[1] id
-- ARGV[2] the number of the claim
-- ARGV[3] ms until a worker shall take it again, '' = it is over
-- ARGV[4] the rest of the job, if it is taken again
-- ARGV[5] not '' = forget that it was stored: its message was never appended, and the publisher may try again. If the
--         publisher has tried again already, the push is not over: a worker shall take it again after so many ms
--
-- Reply: 1, or 0 if another claim has the push or it is over.

local job = redis.call('HGET', jobs, ARGV[1])
if not job then return 0 end
local _, _, _, call = parts(job)
if call ~= ARGV[2] then return 0 end
if ARGV[5] ~= '' and redis.call('GET', KEYS[3]) == '2' then
  redis.call('SET', KEYS[3], '1', 'KEEPTTL')
  local at = now + tonumber(ARGV[5])
  redis.call('HSET', jobs, ARGV[1], job_of('scheduled', text(at), '0', '', rest_of(job)))
  set_due(ARGV[1], at, KEYS[4])
elseif ARGV[3] == '' then
  redis.call('HDEL', jobs, ARGV[1])
  redis.call('ZREM', due, ARGV[1])
  if ARGV[5] ~= '' then redis.call('DEL', KEYS[3]) end
else
  local at = now + tonumber(ARGV[3])
  redis.call('HSET', jobs, ARGV[1], job_of('scheduled', text(at), '0', '', '\n' .. ARGV[4]))
  set_due(ARGV[1], at, KEYS[4])
end
return 1
