-- The prelude of every script on a log: opens it, and lets go of what is too old.
--
-- KEYS[1] log      stream
-- KEYS[2] meta     hash: epoch, top, oldest
-- KEYS[3] keys     zset: message key -> offset
-- ARGV[1] epoch to give the log if it has none
-- ARGV[2] seconds to keep an entry, and the log after its last use
--
-- Leaves to the script: epoch, top (newest offset ever given), oldest (oldest offset not trimmed), now (Unix seconds).

local function text(offset) return string.format('%.0f', offset) end

local meta = redis.call('HMGET', KEYS[2], 'epoch', 'top', 'oldest')
local epoch, top, oldest = meta[1], tonumber(meta[2] or 0), tonumber(meta[3] or 1)
local now = tonumber(redis.call('TIME')[1])

if not epoch then
  epoch = ARGV[1]
  -- What the stream still holds belongs to a history that nobody can name any more; its ids would refuse ours.
  redis.call('DEL', KEYS[1], KEYS[3])
  redis.call('HSET', KEYS[2], 'epoch', epoch, 'top', 0, 'oldest', 1)
end

-- Trim by age. A step per entry, a bound per call: an append adds one entry, so a hundred keep up with any backlog.
for _ = 1, 100 do
  local head = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
  if not head or tonumber(head[2][4]) + tonumber(ARGV[2]) > now then break end
  oldest = tonumber(string.match(head[1], '^%d+')) + 1
  redis.call('XTRIM', KEYS[1], 'MINID', '=', text(oldest))
  redis.call('HSET', KEYS[2], 'oldest', text(oldest))
end
redis.call('EXPIRE', KEYS[1], ARGV[2])
redis.call('EXPIRE', KEYS[2], ARGV[2])
