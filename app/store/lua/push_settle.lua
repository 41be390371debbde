-- End a claimed push, or have it taken again later. Runs after timers.lua.
--
-- KEYS[3] done  string: exists while it is remembered that the push was stored
-- KEYS[4] channel
-- ARGV[1] id
-- ARGV[2] the number of the claim
-- ARGV[3] ms until a worker shall take it again, '' = it is over
-- ARGV[4] the devices that are left, if it is taken again
-- ARGV[5] '' = its message was appended. Otherwise the begin of the publish that did not append it, as in the job. The
--         push is then forgotten, so that the publisher may try again. If another publish has begun since, the push is
--         not over: a worker shall take it again after ARGV[6] ms
--
-- Reply: 1, or 0 if another claim has the push or it is over.

local job = redis.call('HGET', jobs, ARGV[1])
if not job then return 0 end
local _, _, _, call = parts(job)
if call ~= ARGV[2] then return 0 end
local begin, left = string.match(job, '\n(%d+) (.*)$')
local pause = ARGV[3]
if ARGV[5] ~= '' and begin ~= ARGV[5] then pause = ARGV[6] elseif pause ~= '' then left = ARGV[4] end
if pause == '' then
  redis.call('HDEL', jobs, ARGV[1])
  redis.call('ZREM', due, ARGV[1])
  if ARGV[5] ~= '' then redis.call('DEL', KEYS[3]) end
else
  local at = now + tonumber(pause)
  redis.call('HSET', jobs, ARGV[1], job_of('scheduled', text(at), '0', '', '\n' .. begin .. ' ' .. left))
  set_due(ARGV[1], at, KEYS[4])
end
return 1
