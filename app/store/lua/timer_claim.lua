-- Claim the jobs that are due. Runs after timers.lua. No other worker gets a claimed job before its lease ends. From
-- now on, the job can't be cancelled or changed.
--
-- ARGV[1] maximum number of jobs
-- ARGV[2] bytes of jobs after which no further one is claimed
-- ARGV[3] ms of the lease
-- ARGV[4] the number of the claim, in letters and digits
--
-- Reply: {ms until the next job is due or its lease ends, -1 = there is none, id, job, id, job ...}

local claimed, size = {-1}, 0
for _, id in ipairs(redis.call('ZRANGEBYSCORE', due, '-inf', text(now), 'LIMIT', 0, ARGV[1])) do
  local job = redis.call('HGET', jobs, id)
  if not job then
    redis.call('ZREM', due, id)
  elseif size < tonumber(ARGV[2]) then
    local _, at, digest = parts(job)
    job = job_of('delivering', at, digest, ARGV[4], rest_of(job))
    redis.call('HSET', jobs, id, job)
    redis.call('ZADD', due, text(now + tonumber(ARGV[3])), id)
    claimed[#claimed + 1] = id
    claimed[#claimed + 1] = job
    size = size + #job
  end
end
local first = redis.call('ZRANGE', due, 0, 0, 'WITHSCORES')
if first[2] then claimed[1] = math.max(0, tonumber(first[2]) - now) end
return claimed
