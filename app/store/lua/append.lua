-- Append one message to a log: once per message id, with the next offset, kept and announced in one atomic step.
-- Runs after room.lua and open.lua, whose keys, arguments and results it shares.
--
-- KEYS[7] id       string: `<history>.<offset> <digest>` of what was appended under this message id
-- ARGV[4] offsets to keep
-- ARGV[5] record
-- ARGV[6] digest of the content
-- ARGV[7] seconds to remember the message id
-- ARGV[8] expiry of the message, Unix ms, 0 = never
-- ARGV[9] message key, '' = none
-- ARGV[10] '1' = live only: announced, not kept, offset 0
-- ARGV[11] message id
--
-- Reply: {status, epoch, offset, receivers}, status 'appended', 'duplicate' or 'reused' (the id, with other content).
-- A duplicate answers the first offset; it appends and announces nothing.
-- A message that took another one's place is followed by `updated`, since readers can't know if they had read that one.

local known = redis.call('GET', KEYS[7])
if known then
  local known_history, offset, digest = string.match(known, '^(%w+)%.(%d+) (.*)$')
  -- An id of an earlier history went with its log: what it stood for is in none any more.
  if known_history == history then
    local status = digest == ARGV[6] and 'duplicate' or 'reused'
    return {status, epoch, tonumber(offset), redis.call('PUBSUB', 'NUMSUB', KEYS[6])[2]}
  end
end

local offset, replaced = 0, false
if ARGV[10] ~= '1' then
  offset = top + 1
  trim(offset - tonumber(ARGV[4]) + 1)
  local entry = {'r', ARGV[5], 't', now}
  if ARGV[8] ~= '0' then
    entry[5], entry[6] = 'x', ARGV[8]
    redis.call('ZADD', KEYS[5], ARGV[8], text(offset))
    redis.call('EXPIRE', KEYS[5], ARGV[2])
    local first = redis.call('ZRANGE', KEYS[5], 0, 0, 'WITHSCORES')[2]
    redis.call('HSET', KEYS[2], 'expires', first)
  end
  redis.call('XADD', KEYS[1], text(offset) .. '-0', unpack(entry))
  redis.call('HSET', KEYS[2], 'top', text(offset))
  redis.call('ZADD', KEYS[4], text(offset), ARGV[11])
  redis.call('EXPIRE', KEYS[4], ARGV[2])
  if offset == 1 then redis.call('EXPIRE', KEYS[1], ARGV[2]) end
  if ARGV[9] ~= '' then
    local earlier = redis.call('ZSCORE', KEYS[3], ARGV[9])
    replaced = earlier and drop(tonumber(earlier))
    redis.call('ZADD', KEYS[3], text(offset), ARGV[9])
    redis.call('EXPIRE', KEYS[3], ARGV[2])
  end
end

redis.call('SET', KEYS[7], history .. '.' .. text(offset) .. ' ' .. ARGV[6], 'EX', ARGV[7])
local receivers = redis.call('PUBLISH', KEYS[6], epoch .. '.' .. text(offset) .. ' ' .. ARGV[5])
if replaced then announce('updated {}') end
return {'appended', epoch, offset, receivers}
