-- Store the pushes of a message that is about to be appended. Runs after timers.lua.
--
-- KEYS[3] channel, then for each recipient:
--   of    zset of the user's devices
--   done  string: exists while it is remembered that this push was stored
-- ARGV[1] ms until a worker shall take them
-- ARGV[2] maximum number of pushes that wait
-- ARGV[3] seconds to remember a push
-- ARGV[4] Unix ms at which this publish began, then for each recipient:
--   id    `<message id>/<digest of the content>/<user>`
--
-- The rest of a job is `<begin of the last publish, Unix ms> <devices that are left>`.
--
-- Reply: the number of pushes that were stored. A user without a device and a repetition of the call add nothing. The
-- message of a job may not be appended yet, because an earlier publish failed after this call. So a repetition makes
-- the job wait for the message as long as a new one does.

local added = 0
for number = 1, #ARGV - 4 do
  local devices, done, id = KEYS[2 * number + 2], KEYS[2 * number + 3], ARGV[number + 4]
  if redis.call('EXISTS', devices) == 1 then
    -- The message's id is remembered from now on, so the push is too.
    if redis.call('EXPIRE', done, ARGV[3]) == 1 then
      local job = redis.call('HGET', jobs, id)
      if job then redis.call('HSET', jobs, id, (string.gsub(job, '\n%d+', '\n' .. ARGV[4], 1))) end
    else
      if redis.call('ZCARD', due) >= tonumber(ARGV[2]) then return redis.error_reply('FULL too many pushes wait') end
      local at = now + tonumber(ARGV[1])
      redis.call('SET', done, '1', 'EX', ARGV[3])
      redis.call('HSET', jobs, id, job_of('scheduled', text(at), '0', '', '\n' .. ARGV[4] .. ' '))
      set_due(id, at, KEYS[3])
      added = added + 1
    end
  end
end
return added
