-- Append one message to a log: once per message id, with the next offset, kept and announced in one atomic step.
-- Runs after open.lua, whose keys, arguments and results it shares.
--
-- KEYS[4] id       string: `<epoch>.<offset> <digest>` of what was appended under this message id
-- KEYS[5] live     channel
-- ARGV[3] offsets to keep
-- ARGV[4] record
-- ARGV[5] digest of the content
-- ARGV[6] seconds to remember the message id
-- ARGV[7] expiry of the message, Unix ms, 0 = never
-- ARGV[8] message key, '' = none
-- ARGV[9] '1' = live only: announced, not kept, offset 0
--
-- Reply: {status, epoch, offset, receivers}, status 'appended', 'duplicate' or 'reused' (the id, with other content).
-- A duplicate answers the first offset; it appends and announces nothing.

local known = redis.call('GET', KEYS[4])
if known then
  local known_epoch, offset, digest = string.match(known, '^(%w+)%.(%d+) (.*)$')
  -- An id of an earlier epoch went with its log: what it stood for is in no history any more.
  if known_epoch == epoch then
    local status = digest == ARGV[5] and 'duplicate' or 'reused'
    return {status, epoch, tonumber(offset), redis.call('PUBSUB', 'NUMSUB', KEYS[5])[2]}
  end
end

local offset = 0
if ARGV[9] ~= '1' then
  offset = top + 1
  oldest = math.max(oldest, offset - tonumber(ARGV[3]) + 1)
  local entry = {'r', ARGV[4], 't', now}
  if ARGV[7] ~= '0' then
    entry[5], entry[6] = 'x', ARGV[7]
  end
  redis.call('XADD', KEYS[1], 'MINID', '=', text(oldest), text(offset) .. '-0', unpack(entry))
  redis.call('HSET', KEYS[2], 'top', text(offset), 'oldest', text(oldest))
  if offset == 1 then redis.call('EXPIRE', KEYS[1], ARGV[2]) end
  if ARGV[8] ~= '' then
    local earlier = redis.call('ZSCORE', KEYS[3], ARGV[8])
    if earlier then redis.call('XDEL', KEYS[1], text(earlier) .. '-0') end
    redis.call('ZADD', KEYS[3], text(offset), ARGV[8])
    redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', '(' .. text(oldest))
    redis.call('EXPIRE', KEYS[3], ARGV[2])
  end
end

local position = epoch .. '.' .. text(offset)
redis.call('SET', KEYS[4], position .. ' ' .. ARGV[5], 'EX', ARGV[6])
return {'appended', epoch, offset, redis.call('PUBLISH', KEYS[5], position .. ' ' .. ARGV[4])}
