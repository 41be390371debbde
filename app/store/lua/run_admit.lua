-- Admits one more completion of a user, or returns the limit that forbids it.
--
-- KEYS[1] active   zset: id -> Unix ms at which its lease ends
-- KEYS[2] starts   zset: id -> Unix ms of its start, of the last minute
-- KEYS[3] tokens   string: tokens used today
-- ARGV[1] id
-- ARGV[2] maximum number of completions under way
-- ARGV[3] maximum number of starts a minute
-- ARGV[4] maximum number of tokens a day, 0 = no limit
-- ARGV[5] ms until the entry in `active` no longer counts, unless it is renewed
--
-- Reply: nothing if admitted, otherwise {code, ms until a retry makes sense}, -1 = unknown.
-- Provides to the next scripts: now (Unix ms), and `text`.
--
-- The first write needs memory and changes nothing. So a full store refuses the whole script, see room.lua.

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local function text(number) return string.format('%.0f', number) end

redis.call('SETRANGE', KEYS[3], 0, '')
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', text(now))
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', text(now - 60000))
-- A start that is sent again because its reply was lost must not count twice.
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('ZREM', KEYS[2], ARGV[1])
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) then return {'too_many_runs', -1} end
if redis.call('ZCARD', KEYS[2]) >= tonumber(ARGV[3]) then
  local first = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')[2]
  return {'rate_limited', math.floor(tonumber(first)) + 60000 - now}
end
if ARGV[4] ~= '0' and tonumber(redis.call('GET', KEYS[3]) or 0) >= tonumber(ARGV[4]) then
  return {'tokens_used_up', -1}
end
redis.call('ZADD', KEYS[1], text(now + tonumber(ARGV[5])), ARGV[1])
redis.call('ZADD', KEYS[2], text(now), ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[5])
redis.call('EXPIRE', KEYS[2], 60)
