-- The prelude of every script on a log. Opens logs, one after the other, and removes entries that are too old. Runs
-- after lineage.lua and bits.lua.
--
-- Six keys for each log, in this order. The keys of the first log are KEYS[1] to KEYS[6]:
--   log      stream
--   meta     hash: epoch, top, oldest, revision, expires, gone_base, gone, aged, history, former, lineage, losses,
--            until, born (Unix seconds)
--   keys     zset: message key -> offset
--   ids      zset: message id -> offset
--   expiry   zset: offset -> expiry, Unix ms
--   live     channel
-- ARGV[2] seconds to keep an entry, and the log after its last use, or up to a sixteenth longer
-- ARGV[3] the losses that the worker knows, and the id of the server at which it last looked, see lineage_look.lua;
--         on a cluster `replaced` and the ids of the replaced servers, see servers.lua;
--         '' = a run's log, whose losses are reported in another way
--
-- A log to which nothing was appended does not exist. A read of it writes nothing, so reads can't fill the store.
-- Its readers are at offset 0 of a *vacant* epoch. The script computes this epoch from the name of the log's key, the
-- losses, the seconds to keep an entry, and the span of time. A span is a third of the seconds to keep an entry.
-- The first append creates the log under a random epoch and stores the time in `born`.
-- A position V.0 of a vacant epoch V is the beginning of the log if V belongs to
--   the current span or the one before, while the log does not exist;
--   the span of `born` or the one before, once the log exists.
-- Any other V.0 gets the answer that history was lost. This order of events shows why no message is skipped silently:
--   1. A read at the time s finds no log and answers V.0.
--   2. A message is appended at t >= s. The message and its log are kept until t + kept_seconds at least.
--   3. V.0 comes back at u. If the log has existed since t, the reader starts at offset 1, or `oldest` shows that
--      entries were trimmed. If the log of t is gone, it expired at or after t + kept_seconds >= s + kept_seconds. V
--      counts for two spans at most, and these end before s + kept_seconds: V.0 is refused.
-- When an append creates a log, `belfry.born` on the log's channel names the vacant epochs that lead to it. Connected
-- readers go on from there without a read.
--
-- A log can end early in three ways:
-- * `LogStore.forget` erases it. A position E.n of it is refused, because E is random and never given again. A reader
--   at V.0 is not notified: nobody must receive an erased message, and a note of the erasure would keep the user's
--   name.
-- * FLUSHALL, an empty restart and a failover that lost something raise the losses, and so change V. A worker that does
--   not know the new number yet may create the log, or accept V.0, under the old one. The log keeps that number in
--   `losses`: the first worker that knows more begins a new epoch, and every reader is notified of the loss. A worker
--   that knows less than the log refuses V.0 of former losses, because V is computed from the log's own number.
--   On a cluster, the id of the server that the log's server took over from replaces the losses. A slot that moves to
--   another shard may change it. A reader at V.0 is then notified of a loss although nothing was lost. FLUSHALL does
--   not change it.
-- * Redis evicts all keys of the log. A position E.n is refused, as after an erasure. A reader at V.0 is not notified,
--   because no trace is left. Belfry reports a store that may evict as a fault.
--
-- Provides to the script the function `open`, and `now` (Unix seconds). For the log that was opened last, it provides
-- the names of its keys, epoch, history (the log's first epoch: message ids and marks belong to it and survive a change
-- of epoch), top (newest offset ever given), oldest (oldest offset not trimmed), and the functions `trim`, `drop`,
-- `id_at`, `announce`, `hold`, `place_of` and `page`.

-- Steps that one call may spend on old entries: 1000 expired and 100 aged ones. After that, each log may still take
-- LEAST steps. LEAST is more than one append adds, so a backlog shrinks.
local expired_left, aged_left, LEAST = 1000, 100, 2
-- Offsets trimmed at once, if the log must become shorter than before. The next calls trim the rest.
local TRIM_MOST = 1000

local SPANS = 3 -- spans of a vacant epoch within the time that an entry is kept
local EPOCH_LENGTH = 6
local EPOCHS = 56800235581 -- the largest prime below 62 ^ EPOCH_LENGTH
local ALPHABET = '0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ'

local losses_told, server_known = string.match(ARGV[3], '^(%d+) ?(%x*)$')
local kept_seconds, losses_known = tonumber(ARGV[2]), tonumber(losses_told) or 0
local servers_replaced = string.match(ARGV[3], '^replaced(.*)')
local held_seconds = kept_seconds + math.floor(kept_seconds / 16)
local lineage, info = replication()
-- A worker must look at a server before it does anything there. Otherwise, readers could get later messages before
-- Belfry counts that this server lacks what another server acknowledged to the worker.
if (server_known or '') ~= '' and server_known ~= lineage then
  return redis.error_reply('UNLOOKED the worker has not looked at this server')
end
local time = redis.call('TIME')
local now = tonumber(time[1])
local now_ms = now * 1000 + math.floor(tonumber(time[2]) / 1000)

local log, meta, keys, ids, expiry, live
local epoch, top, oldest, history, losses, held_until, first_expiry
local vacant -- whether the log does not exist
local starts -- the vacant epochs whose offset 0 is the beginning of the log; nil until needed
-- These are nil until `details` is called, because an append does not need them. A reply ends at a nil.
local former, revision, gone_base, gone, born

local function details()
  if former then return end
  local known = vacant and {} or redis.call('HMGET', meta, 'former', 'revision', 'gone_base', 'gone', 'born')
  former, revision, gone_base, gone = known[1] or '', tonumber(known[2] or 0), tonumber(known[3] or 0), known[4] or ''
  born = vacant and now or tonumber(known[5] or 0)
end

local function span_of(time) return math.floor(time * SPANS / kept_seconds) end

-- Return the epoch of the log while it does not exist: the text as one number, modulo a prime. `Lineage.vacant_epoch`
-- computes it in the same way. The epoch need not be secret. It must differ between logs that are read together, and
-- between spans of one log.
local function vacant_epoch(span)
  local number, epoch_text = 0, ''
  local lost = servers_replaced and string.match(info, 'master_replid2:(%x+)') or text(losses)
  for _, byte in ipairs({string.byte(table.concat({meta, lost, text(kept_seconds), text(span)}, ' '), 1, -1)}) do
    number = (number * 256 + byte) % EPOCHS
  end
  for _ = 1, EPOCH_LENGTH do
    local digit = number % #ALPHABET + 1
    epoch_text = epoch_text .. string.sub(ALPHABET, digit, digit)
    number = math.floor(number / #ALPHABET)
  end
  return epoch_text
end

-- Return the epochs whose offset 0 is the beginning of a log that was created at this time.
local function starts_at(time)
  local span = span_of(time)
  return vacant_epoch(span) .. ' ' .. vacant_epoch(span - 1)
end

-- Return whether offset 0 of this epoch is the beginning of the log. A log from a version without vacant epochs has no
-- such epoch.
local function is_start(known_epoch)
  if ARGV[3] == '' or born == 0 or #known_epoch ~= EPOCH_LENGTH then return false end
  starts = starts or starts_at(born)
  return string.find(starts, known_epoch, 1, true)
end

-- Remove the message ids of entries that were removed. When the last id goes, Redis deletes `ids` with its TTL. `hold`
-- must then set the TTL of the next one.
local function unlink(lowest, highest)
  if redis.call('ZREMRANGEBYSCORE', ids, lowest, highest) > 0 and redis.call('EXISTS', ids) == 0 then held_until = 0 end
end

-- Store when the first entry expires. A log without expiring entries pays nothing for this.
local function note_first_expiry()
  first_expiry = redis.call('ZRANGE', expiry, 0, 0, 'WITHSCORES')[2]
  if first_expiry then
    redis.call('HSET', meta, 'expires', first_expiry)
  else
    redis.call('HDEL', meta, 'expires')
  end
end

-- Remove the expiries of trimmed entries, from the offset `from` on.
local function unexpire(from)
  local offsets = {}
  for offset = from, oldest - 1 do offsets[#offsets + 1] = text(offset) end
  if redis.call('ZREM', expiry, unpack(offsets)) > 0 then note_first_expiry() end
end

-- Trim the entries before the offset `to`, with their ids, keys and expiries.
local function trim(to)
  if to <= oldest then return end
  local from = oldest
  oldest = math.min(to, from + TRIM_MOST)
  local first = text(oldest)
  redis.call('XTRIM', log, 'MINID', '=', first)
  redis.call('HSET', meta, 'oldest', first)
  redis.call('ZREMRANGEBYSCORE', keys, '-inf', '(' .. first)
  unlink('-inf', '(' .. first)
  if first_expiry then unexpire(from) end
end

-- Remove one entry early because it was retracted, replaced or has expired. Returns whether it was there.
local function drop(offset)
  if redis.call('XDEL', log, text(offset) .. '-0') == 0 then return false end
  details()
  local base = math.max(gone_base, base_of(oldest))
  gone = with(rebased(gone, gone_base, base), base, offset, true)
  gone_base = base
  redis.call('HSET', meta, 'gone_base', text(base), 'gone', gone)
  unlink(text(offset), text(offset))
  return true
end

local function id_at(offset)
  return redis.call('ZRANGEBYSCORE', ids, text(offset), text(offset))[1]
end

-- Count a change of the log that is not an append, and notify every reader. `record` is live only.
local function announce(record)
  details()
  revision = redis.call('HINCRBY', meta, 'revision', 1)
  redis.call(PUBLISH, live, epoch .. '.0 ' .. record)
end

-- Set one TTL for all keys of a log that was used. The TTL is a sixteenth longer than necessary, and is set again when
-- that sixteenth has passed, because reading it costs less than writing it. Call this last.
-- A log that keeps no message ids gets its TTL at each use, because keys that an append created have no TTL yet. A
-- run's log never keeps message ids, and never lives longer than it must.
local function hold()
  if vacant then return end
  if held_until >= now + kept_seconds and held_until <= now + held_seconds then return end
  if redis.call('EXPIRE', ids, held_seconds) == 0 then
    redis.call('EXPIRE', log, kept_seconds)
    redis.call('EXPIRE', meta, kept_seconds)
    redis.call('HDEL', meta, 'until')
    return
  end
  redis.call('EXPIRE', log, held_seconds)
  redis.call('EXPIRE', meta, held_seconds)
  redis.call('EXPIRE', keys, held_seconds)
  redis.call('EXPIRE', expiry, held_seconds)
  redis.call('HSET', meta, 'until', text(now + held_seconds))
end

-- Return the offset of the position `epoch.offset` if the position belongs to this log's history.
local function place_of(position)
  details()
  local known_epoch, offset = string.match(position, '^(%w+)%.(%d+)$')
  if known_epoch == epoch then return tonumber(offset) end
  local last = string.match(' ' .. former, ' ' .. known_epoch .. '%.(%d+)')
  if last and tonumber(offset) <= tonumber(last) then return tonumber(offset) end
  if offset == '0' and is_start(known_epoch) then
    former = former == '' and position or former .. ' ' .. position -- only the reply contains this; it is not stored
    return 0
  end
end

-- Return the result of a read, see `Page`. `start` is the offset from which `found` was read, -1 = nothing was read.
local function page(start, found)
  details()
  local kept = vacant and 0 or redis.call('XLEN', log)
  return {epoch, top, oldest, kept, revision, gone_base, gone, history, former, start, found}
end

-- Begin a log. Entries that the stream still holds belong to a history that nobody can name any more, and their ids
-- would block new messages with the same ids. So they are deleted.
local function begin(fresh)
  epoch, history, losses, vacant, former = fresh, fresh, losses_known, false, nil
  local is_new = redis.call('DEL', log, meta, keys, ids, expiry) == 0
  redis.call('HSET', meta, 'epoch', epoch, 'top', 0, 'oldest', 1, 'lineage', lineage, 'losses', losses_known,
    'aged', text(now), 'born', is_new and text(now) or 0)
  if is_new and redis.call('PUBSUB', NUMSUB, live)[2] > 0 then
    redis.call(PUBLISH, live, epoch .. '.0 belfry.born ' .. starts_at(now))
  end
end

-- Begin a new epoch: the server is another one than before, or the worker knows of a loss that this log's readers do
-- not know yet.
-- Only a loss makes the earlier positions invalid. `lineage_look.lua` decides whether a failover lost something. On a
-- cluster, every failover counts as a loss.
local function begin_epoch(fresh, before)
  details()
  local replaced = servers_replaced and was_replaced(info, before, servers_replaced)
  local told = ARGV[3] ~= '' and (replaced or losses_known > losses)
  former = told and '' or formers(epoch, top, former)
  epoch, losses = fresh, math.max(losses, losses_known)
  redis.call('PERSIST', meta) -- so that a full store does not refuse the later writes, and reading continues
  redis.call('HSET', meta, 'epoch', epoch, 'history', history, 'former', former, 'lineage', lineage, 'losses', losses)
  held_until = 0
end

-- Begin a new epoch after Redis evicted the stream. In that case the stream is gone while the meta still counts
-- entries, because a stream that merely becomes empty stays.
-- Earlier positions are no longer valid. Offsets continue, so that no offset is given twice. Message ids and marks
-- continue too, so that no message is sent again. An entry is added and removed, which leaves an empty stream. So the
-- next eviction is noticed too.
local function begin_after_loss(fresh)
  -- frees memory, so that a full store does not refuse the later writes
  redis.call('DEL', keys, ids, expiry)
  redis.call('HDEL', meta, 'gone_base', 'gone', 'expires')
  epoch, oldest, former, first_expiry, held_until = fresh, top + 1, nil, false, 0
  redis.call('XADD', log, text(top) .. '-0', 'r', '')
  redis.call('XDEL', log, text(top) .. '-0')
  redis.call('HSET', meta, 'epoch', epoch, 'history', history, 'former', '', 'oldest', text(oldest), 'aged', text(now))
end

-- Trim by age, one entry per step, with a limit per call. An append adds one entry, so two steps per call reduce any
-- backlog.
-- `aged` is the time of the oldest entry at the last look. The entry that is the oldest now is as young or younger.
local function let_age()
  for _ = 1, math.max(aged_left, LEAST) do
    aged_left = aged_left - 1
    local head = redis.call('XRANGE', log, '-', '+', 'COUNT', 1)[1]
    local at = head and tonumber(head[2][4]) or now
    redis.call('HSET', meta, 'aged', text(at))
    if at + kept_seconds > now then break end
    trim(tonumber(string.match(head[1], '^%d+')) + 1)
  end
end

-- Remove expired entries and notify readers.
local function let_expire()
  local found, nameless = {}, false -- entries stored before `link` existed, which no id leads to
  local most = math.max(expired_left, LEAST)
  for _, offset in ipairs(redis.call('ZRANGEBYSCORE', expiry, '-inf', now_ms, 'LIMIT', 0, most)) do
    expired_left = expired_left - 1
    local id = id_at(tonumber(offset))
    if drop(tonumber(offset)) then
      if id then found[#found + 1] = '"' .. id .. '"' else nameless = true end
    end
    redis.call('ZREM', expiry, offset)
  end
  note_first_expiry()
  if #found > 0 then announce('removed {"ids":[' .. table.concat(found, ',') .. ']}') end
  if nameless then announce('updated {}') end
end

-- Open the log whose keys begin at KEYS[at]. `fresh` is the epoch for a log whose server is another one than before. It
-- is also the epoch for a log that does not exist, if `creates` is set. Without `creates`, such a log stays vacant. The
-- script calls `hold` after its last write.
local function open(at, fresh, creates)
  log, meta, keys, ids, expiry, live = unpack(KEYS, at, at + 5)
  local known = redis.call('HMGET', meta, 'epoch', 'top', 'oldest', 'lineage', 'losses', 'aged', 'until', 'history', 'expires')
  epoch, top, oldest = known[1], tonumber(known[2] or 0), tonumber(known[3] or 1)
  history, held_until, former, first_expiry = known[8] or epoch, tonumber(known[7] or 0), nil, known[9]
  vacant, starts, losses = not epoch, nil, tonumber(known[5] or 0)
  if vacant then
    losses = losses_known
    if creates or redis.call('EXISTS', log, ids) > 0 then return begin(fresh) end
    epoch = ARGV[3] == '' and fresh or vacant_epoch(span_of(now))
    history = epoch
    return
  end
  if top > 0 and redis.call('EXISTS', log) == 0 then begin_after_loss(fresh) end
  if (known[4] or '') ~= lineage or losses_known > losses then begin_epoch(fresh, known[4] or '') end
  if tonumber(known[6] or 0) + kept_seconds <= now then let_age() end
  if first_expiry and tonumber(first_expiry) <= now_ms then let_expire() end
end
