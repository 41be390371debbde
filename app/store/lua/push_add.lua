-- Store the pushes of a message that is about to be appended. Runs after timers.lua.
--
-- KEYS[3] channel, then for each recipient:
--   of    zset of the user's devices
--   done  string: '1' if this push was stored before, '2' if a publish was repeated since then
-- ARGV[1] ms until a worker shall take them
-- ARGV[2] maximum number of pushes that wait
-- ARGV[3] seconds to remember a push
-- ARGV[4] the rest of each job, then for each recipient:
--   id    `<message id>/<user>`
--
-- Reply: the number of pushes that were stored. A user without a device and a repetition of the call add nothing.

local added = 0
for number = 1, #ARGV - 4 do
  local devices, done, id = KEYS[2 * number + 2], KEYS[2 * number + 3], ARGV[number + 4]
  if redis.call('EXISTS', devices) == 1 then
    if redis.call('ZCARD', due) >= tonumber(ARGV[2]) then return redis.error_reply('FULL too many pushes wait') end
    if not redis.call('SET', done, '1', 'NX', 'EX', ARGV[3]) then
      -- The message's id is remembered from now on, so the push is too.
      redis.call('SET', done, '2', 'EX', ARGV[3])
    elseif not redis.call('HGET', jobs, id) then
      local at = now + tonumber(ARGV[1])
      redis.call('HSET', jobs, id, job_of('scheduled', text(at), '0', '', '\n' .. ARGV[4]))
      set_due(id, at, KEYS[3])
      added = added + 1
    end
  end
end
return added
