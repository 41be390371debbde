-- Remember users who visited or received a message. Forgets those first that have not been seen for the longest time.
--
-- KEYS[1] names    zset: user -> 0, so that it is in the order of the names
-- KEYS[2] seen     zset: user -> Unix seconds
-- KEYS[3] awaited  zset: user -> 0, users who received a message, of whom no visit is remembered
-- KEYS[4] ... forgotten, of each user: a string that exists for a moment after the user was forgotten
-- ARGV[1] maximum number of users to remember
-- ARGV[2] now, Unix seconds
-- ARGV[3] seconds after which a user is forgotten
-- ARGV[4] 1 if the users visited, 0 if they received a message
-- ARGV[5] ... users
--
-- Workers report users a little late, so a user who was forgotten a moment ago is not added.
-- A call adds some users and forgets up to FORGOTTEN_MORE users more than it adds. So a backlog shrinks with each call.

local FORGOTTEN_MORE = 100

for i = 5, #ARGV do
  if redis.call('EXISTS', KEYS[i - 1]) == 0 then
    local is_new = redis.call('ZADD', KEYS[1], 0, ARGV[i]) == 1
    redis.call('ZADD', KEYS[2], ARGV[2], ARGV[i])
    if ARGV[4] == '1' then
      redis.call('ZREM', KEYS[3], ARGV[i])
    elseif is_new then
      redis.call('ZADD', KEYS[3], 0, ARGV[i])
    end
  end
end
local most = #ARGV + FORGOTTEN_MORE
local excess = math.min(most, redis.call('ZCARD', KEYS[2]) - tonumber(ARGV[1]))
local gone = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', '(' .. (ARGV[2] - ARGV[3]), 'LIMIT', 0, most)
if excess > #gone then gone = redis.call('ZRANGE', KEYS[2], 0, excess - 1) end
if #gone > 0 then
  redis.call('ZREM', KEYS[1], unpack(gone))
  redis.call('ZREM', KEYS[2], unpack(gone))
  redis.call('ZREM', KEYS[3], unpack(gone))
end
redis.call('EXPIRE', KEYS[1], ARGV[3])
redis.call('EXPIRE', KEYS[2], ARGV[3])
redis.call('EXPIRE', KEYS[3], ARGV[3])
return #gone
