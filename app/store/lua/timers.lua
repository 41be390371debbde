-- The common parts of the scripts on timers.
--
-- KEYS[1] due   zset: message id -> Unix ms when a worker shall take it next
-- KEYS[2] jobs  hash: message id -> `<state> <due, Unix ms> <digest> <call>`, a line feed, and the rest of the job
--
-- A job is `scheduled` at first. Its first claim makes it `delivering`, and its call is then the number of the claim.
-- When the job is over, its field is deleted, and a string with the same four words remembers it for a while.

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local due, jobs = KEYS[1], KEYS[2]

local function text(number) return string.format('%.0f', number) end

local function parts(job) return string.match(job, '^(%a+) (%d+) (%w+) ?(%w*)') end

local function job_of(state, at, digest, call, rest) return table.concat({state, at, digest, call}, ' ') .. rest end

local function rest_of(job) return string.sub(job, (string.find(job, '\n', 1, true) or #job + 1)) end

-- Return the moment that a publisher named, in Unix ms.
local function moment(milliseconds, relative)
  return relative == '1' and now + tonumber(milliseconds) or tonumber(milliseconds)
end

-- Set the time at which a worker shall take the job, and notify the workers if no job is due earlier.
local function set_due(id, at, channel)
  redis.call('ZADD', due, text(at), id)
  if redis.call('ZRANK', due, id) == 0 then redis.call(PUBLISH, channel, text(math.max(0, at - now))) end
end

-- Remove the job. Its id stays known for `seconds`.
local function settle(id, state, job, of, done, seconds)
  local _, at, digest, call = parts(job)
  redis.call('SET', done, job_of(state, at, digest, call, ''), 'EX', seconds)
  redis.call('HDEL', jobs, id)
  redis.call('ZREM', due, id)
  redis.call('ZREM', of, id)
end
