-- The prelude of every script on a log: opens it, and lets go of what is too old. Runs after bits.lua.
--
-- KEYS[1] log      stream
-- KEYS[2] meta     hash: epoch, top, oldest, revision, expires, gone_base, gone, aged
-- KEYS[3] keys     zset: message key -> offset
-- KEYS[4] ids      zset: message id -> offset
-- KEYS[5] expiry   zset: offset -> expiry, Unix ms
-- KEYS[6] live     channel
-- ARGV[1] epoch to give the log if it has none
-- ARGV[2] seconds to keep an entry, and the log after its last use
--
-- Leaves to the script: epoch, top (newest offset ever given), oldest (oldest offset not trimmed), now (Unix seconds),
-- and the functions `text`, `trim`, `drop`, `id_at`, `announce` and `page`.

local EXPIRED_PER_CALL = 1000

local function text(offset) return string.format('%.0f', offset) end

local meta = redis.call('HMGET', KEYS[2], 'epoch', 'top', 'oldest', 'revision', 'expires', 'gone_base', 'gone', 'aged')
local epoch, top, oldest = meta[1], tonumber(meta[2] or 0), tonumber(meta[3] or 1)
local revision, expires = tonumber(meta[4] or 0), tonumber(meta[5] or 'inf')
local gone_base, gone = tonumber(meta[6] or 0), meta[7] or ''
local time = redis.call('TIME')
local now = tonumber(time[1])

-- Entries before the offset `to` are trimmed, with what leads to them.
local function trim(to)
  if to <= oldest then return end
  oldest = to
  redis.call('XTRIM', KEYS[1], 'MINID', '=', text(oldest))
  redis.call('HSET', KEYS[2], 'oldest', text(oldest))
  redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', '(' .. text(oldest))
  redis.call('ZREMRANGEBYSCORE', KEYS[4], '-inf', '(' .. text(oldest))
end

-- One entry leaves before its time: retracted, replaced or expired. Answers whether it was there.
local function drop(offset)
  if redis.call('XDEL', KEYS[1], text(offset) .. '-0') == 0 then return false end
  local base = math.max(gone_base, base_of(oldest))
  gone = with(rebased(gone, gone_base, base), base, offset, true)
  gone_base = base
  redis.call('HSET', KEYS[2], 'gone_base', text(base), 'gone', gone)
  redis.call('ZREMRANGEBYSCORE', KEYS[4], text(offset), text(offset))
  return true
end

local function id_at(offset)
  return redis.call('ZRANGEBYSCORE', KEYS[4], text(offset), text(offset))[1]
end

-- The log changed otherwise than by an append: count it, and tell every reader. `record` is live only.
local function announce(record)
  revision = redis.call('HINCRBY', KEYS[2], 'revision', 1)
  redis.call('PUBLISH', KEYS[6], epoch .. '.0 ' .. record)
end

-- What every read answers, see `Page`; `start` is the offset that `found` was read from, -1 = none.
local function page(start, found)
  return {epoch, top, oldest, redis.call('XLEN', KEYS[1]), revision, gone_base, gone, start, found}
end

if not epoch then
  epoch = ARGV[1]
  -- What the stream still holds belongs to a history that nobody can name any more; its ids would refuse ours.
  redis.call('DEL', KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5])
  redis.call('HSET', KEYS[2], 'epoch', epoch, 'top', 0, 'oldest', 1)
end

-- Trim by age. A step per entry, a bound per call: an append adds one entry, so a hundred keep up with any backlog.
-- `aged` is the time of the oldest entry when it was last looked at; what stands there now is as young or younger.
if tonumber(meta[8] or 0) + tonumber(ARGV[2]) <= now then
  for _ = 1, 100 do
    local head = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
    local at = head and tonumber(head[2][4]) or now
    redis.call('HSET', KEYS[2], 'aged', text(at))
    if at + tonumber(ARGV[2]) > now then break end
    trim(tonumber(string.match(head[1], '^%d+')) + 1)
  end
end

-- Let expired entries go. `expires` says when to look, so a log without them pays nothing.
local now_ms = now * 1000 + math.floor(tonumber(time[2]) / 1000)
if expires <= now_ms then
  local ids = {}
  for _, offset in ipairs(redis.call('ZRANGEBYSCORE', KEYS[5], '-inf', now_ms, 'LIMIT', 0, EXPIRED_PER_CALL)) do
    local id = id_at(tonumber(offset))
    if drop(tonumber(offset)) then ids[#ids + 1] = '"' .. id .. '"' end
    redis.call('ZREM', KEYS[5], offset)
  end
  local following = redis.call('ZRANGE', KEYS[5], 0, 0, 'WITHSCORES')[2]
  if following then
    redis.call('HSET', KEYS[2], 'expires', following)
  else
    redis.call('HDEL', KEYS[2], 'expires')
  end
  if #ids > 0 then announce('removed {"ids":[' .. table.concat(ids, ',') .. ']}') end
end
redis.call('EXPIRE', KEYS[1], ARGV[2])
redis.call('EXPIRE', KEYS[2], ARGV[2])
