-- Cancel a message that is not being delivered yet. Runs after timers.lua, and takes the keys of timer_finish.lua.
--
-- ARGV[1] id
-- ARGV[2] seconds to remember the id
--
-- Reply: the state of the message before, '' if the message is unknown.

local job = redis.call('HGET', jobs, ARGV[1])
if not job then return string.match(redis.call('GET', KEYS[4]) or '', '^%a*') end
local state = parts(job)
if state == 'scheduled' then settle(ARGV[1], 'cancelled', job, KEYS[3], KEYS[4], ARGV[2]) end
return state
