-- Deliver a scheduled message at another time. Runs after timers.lua, and takes the keys of timer_schedule.lua.
--
-- ARGV[1] id
-- ARGV[2] time of delivery in ms; ARGV[3] '1' = ms from now, otherwise Unix ms
-- ARGV[4] maximum ms ahead
-- ARGV[5] the rest of the job, which names the user who changed it
--
-- Reply: {what, due}. `what` is 'changed', 'far', 'unknown', or the state that forbids the change.

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
