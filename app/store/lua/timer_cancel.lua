-- Cancel a message that is not being delivered yet. Runs after timers.lua, and takes the keys of timer_finish.lua.
--
-- ARGV[1] id
-- ARGV[2] seconds to remember the id
--
-- Reply: the state of the message before, '' if the message is unknown.

local job = redis.call('HGET', jobs, ARGV[1])
if not job then
  local done = redis.call('GET', KEYS[4])
  if done then redis.call('SET', KEYS[4], done, 'KEEPTTL') end -- a repetition writes too, see timer_schedule.lua
  return string.match(done or '', '^%a*')
end
local state = parts(job)
if state == 'scheduled' then settle(ARGV[1], 'cancelled', job, KEYS[3], KEYS[4], ARGV[2]) end
return state
