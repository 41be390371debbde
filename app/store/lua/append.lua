-- Append one message to a log: once per message id, with the next offset, kept and announced in one atomic step.
-- Runs after room.lua and open.lua, whose keys, arguments and results it shares.
--
-- KEYS[7] id       string: `<epoch>.<offset> <digest>` of what was appended under this message id
-- ARGV[3] offsets to keep
-- ARGV[4] record
-- ARGV[5] digest of the content
-- ARGV[6] seconds to remember the message id
-- ARGV[7] expiry of the message, Unix ms, 0 = never
-- ARGV[8] message key, '' = none
-- ARGV[9] '1' = live only: announced, not kept, offset 0
-- ARGV[10] message id
--
-- Reply: {status, epoch, offset, receivers}, status 'appended', 'duplicate' or 'reused' (the id, with other content).
-- A duplicate answers the first offset; it appends and announces nothing.
-- A message that took another one's place is followed by `updated`, since readers can't know if they had read that one.

local known = redis.call('GET', KEYS[7])
if known then
  local known_epoch, offset, digest = string.match(known, '^(%w+)%.(%d+) (.*)$')
  -- An id of an earlier epoch went with its log: what it stood for is in no history any more.
  if known_epoch == epoch then
    local status = digest == ARGV[5] and 'duplicate' or 'reused'
    return {status, epoch, tonumber(offset), redis.call('PUBSUB', 'NUMSUB', KEYS[6])[2]}
  end
end

local offset, replaced = 0, false
if ARGV[9] ~= '1' then
  offset = top + 1
  trim(offset - tonumber(ARGV[3]) + 1)
  local entry = {'r', ARGV[4], 't', now}
  if ARGV[7] ~= '0' then
    entry[5], entry[6] = 'x', ARGV[7]
    redis.call('ZADD', KEYS[5], ARGV[7], text(offset))
    redis.call('EXPIRE', KEYS[5], ARGV[2])
    local first = redis.call('ZRANGE', KEYS[5], 0, 0, 'WITHSCORES')[2]
    redis.call('HSET', KEYS[2], 'expires', first)
  end
  redis.call('XADD', KEYS[1], text(offset) .. '-0', unpack(entry))
  redis.call('HSET', KEYS[2], 'top', text(offset))
  redis.call('ZADD', KEYS[4], text(offset), ARGV[10])
  redis.call('EXPIRE', KEYS[4], ARGV[2])
  if offset == 1 then redis.call('EXPIRE', KEYS[1], ARGV[2]) end
  if ARGV[8] ~= '' then
    local earlier = redis.call('ZSCORE', KEYS[3], ARGV[8])
    replaced = earlier and drop(tonumber(earlier))
    redis.call('ZADD', KEYS[3], text(offset), ARGV[8])
    redis.call('EXPIRE', KEYS[3], ARGV[2])
  end
end

local position = epoch .. '.' .. text(offset)
redis.call('SET', KEYS[7], position .. ' ' .. ARGV[5], 'EX', ARGV[6])
local receivers = redis.call('PUBLISH', KEYS[6], position .. ' ' .. ARGV[4])
if replaced then announce('updated {}') end
return {'appended', epoch, offset, receivers}
