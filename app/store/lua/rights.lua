-- Find the commands that Redis refuses to its user. The script tries each command in a way that changes nothing.
--
-- KEYS[1] a string that this script makes and removes; commands for other types fail on it
-- ARGV[1] channel to publish to, in the slot of the key
--
-- Reply: {each refused right, ...}, written as an ACL rule that grants it

local denied = {}

local function refused(reply)
  if type(reply) ~= 'table' or not reply.err then return false end
  return string.find(reply.err, 'ACL failure', 1, true) or string.find(reply.err, 'NOPERM', 1, true)
    or string.find(reply.err, 'The user executing the script', 1, true)
end

-- Return whether the server does not know the command. Its configuration may rename commands, or a managed service may
-- lack some.
local function unknown(reply)
  return type(reply) == 'table' and reply.err and string.find(string.lower(reply.err), 'unknown', 1, true)
end

local function note(name, reply)
  if refused(reply) then
    denied[#denied + 1] = name
  elseif unknown(reply) then
    denied[#denied + 1] = name .. ' (unknown to the server)'
  end
end

local function try(name, ...) note(name, redis.pcall(...)) end

local key = KEYS[1]
for _, command in ipairs({
  {'+time', 'TIME'}, {'+exists', 'EXISTS', key}, {'+get', 'GET', key}, {'+mget', 'MGET', key},
  {'+hget', 'HGET', key, 'f'}, {'+hmget', 'HMGET', key, 'f'}, {'+hgetall', 'HGETALL', key}, {'+hscan', 'HSCAN', key, 0},
  {'+smembers', 'SMEMBERS', key}, {'+lrange', 'LRANGE', key, 0, 0},
  {'+xlen', 'XLEN', key}, {'+xrange', 'XRANGE', key, '-', '+'},
  {'+xrevrange', 'XREVRANGE', key, '+', '-'}, {'+zcard', 'ZCARD', key}, {'+zscore', 'ZSCORE', key, 'm'},
  {'+zmscore', 'ZMSCORE', key, 'm'}, {'+zrange', 'ZRANGE', key, 0, 0}, {'+zrevrange', 'ZREVRANGE', key, 0, 0},
  {'+zrangebyscore', 'ZRANGEBYSCORE', key, 0, 0}, {'+zrangebylex', 'ZRANGEBYLEX', key, '-', '+'},
  {'+zscan', 'ZSCAN', key, 0}, {'+pubsub|' .. string.lower(NUMSUB), 'PUBSUB', NUMSUB, ARGV[1]},
}) do
  try(unpack(command))
end
local heard = redis.pcall(PUBLISH, ARGV[1], '')
note(refused(heard) and string.find(heard.err, 'channel', 1, true) and '&' .. ARGV[1] or '+' .. string.lower(PUBLISH), heard)

local made = redis.pcall('SET', key, 'probe', 'EX', 60)
note('+set', made)
-- without this key, the next commands would change something
if type(made) == 'table' and made.err then return denied end

for _, command in ipairs({
  {'+setrange', 'SETRANGE', key, 0, ''}, {'+incrby', 'INCRBY', key, 1}, {'+hset', 'HSET', key, 'f', ''},
  {'+hdel', 'HDEL', key, 'f'}, {'+hincrby', 'HINCRBY', key, 'f', 1}, {'+sadd', 'SADD', key, 'm'},
  {'+srem', 'SREM', key, 'm'}, {'+lpush', 'LPUSH', key, 'm'}, {'+ltrim', 'LTRIM', key, 0, 0},
  {'+xadd', 'XADD', key, '*', 'f', ''}, {'+xdel', 'XDEL', key, '1-0'},
  {'+xtrim', 'XTRIM', key, 'MAXLEN', 1}, {'+zadd', 'ZADD', key, 0, 'm'}, {'+zrem', 'ZREM', key, 'm'},
  {'+zremrangebyrank', 'ZREMRANGEBYRANK', key, 0, 0}, {'+zunionstore', 'ZUNIONSTORE', key, 1, key},
  {'+zinterstore', 'ZINTERSTORE', key, 1, key},
  {'+zremrangebyscore', 'ZREMRANGEBYSCORE', key, 0, 0}, {'+persist', 'PERSIST', key}, {'+pexpire', 'PEXPIRE', key, 60000},
  {'+expire', 'EXPIRE', key, 60}, {'+getdel', 'GETDEL', key}, {'+del', 'DEL', key},
}) do
  try(unpack(command))
end
return denied
