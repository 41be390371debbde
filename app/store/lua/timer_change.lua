-- Deliver a scheduled message at another time. Runs after timers.lua; keys as timer_schedule.lua.
--
-- ARGV[1] id
-- ARGV[2] ms, ARGV[3] '1' = from now
-- ARGV[4] most ms ahead
-- ARGV[5] the rest of the job, which names who changed it
--
-- Reply: {what, due}: 'changed', 'far', 'unknown', or the state that forbids it.

local job = redis.call('HGET', jobs, ARGV[1])
if not job then return {'unknown', '0'} end
local state, at, digest, call = parts(job)
if state ~= 'scheduled' then return {state, at} end
at = moment(ARGV[2], ARGV[3])
if at - now > tonumber(ARGV[4]) then return {'far', text(at)} end
at = math.max(at, now)
redis.call('HSET', jobs, ARGV[1], job_of(state, text(at), digest, call, '\n' .. ARGV[5]))
redis.call('ZADD', KEYS[3], text(at), ARGV[1])
set_due(ARGV[1], at, KEYS[5])
return {'changed', text(at)}
