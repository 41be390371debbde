-- The prelude of every script on a log: opens logs, one after the other, and lets go of what is too old. Runs after
-- lineage.lua and bits.lua.
--
-- Six keys of each log, in this order; those of the first one are KEYS[1] to KEYS[6]:
--   log      stream
--   meta     hash: epoch, top, oldest, revision, expires, gone_base, gone, aged, history, former, lineage, losses, until,
--            born (Unix seconds)
--   keys     zset: message key -> offset
--   ids      zset: message id -> offset
--   expiry   zset: offset -> expiry, Unix ms
--   live     channel
-- ARGV[2] seconds to keep an entry, and the log after its last use, or up to a sixteenth longer
-- ARGV[3] losses that the worker knows of, and the id of the server at which it looked last, see lineage_look.lua; on a
--         cluster `replaced` and the ids of the servers that were, see servers.lua; '' = a run's log, whose losses are told
--         otherwise
--
-- A log to which nothing was appended does not exist. A read of it writes nothing, so nobody can fill the store by reading.
-- Its readers stand at offset 0 of a *vacant* epoch. The script computes this epoch from the name of the log's key, the
-- losses, the seconds to keep an entry, and the span of time. A span is a third of the seconds to keep an entry.
-- The first append creates the log under a random epoch and stores the time in `born`.
-- A position V.0 of a vacant epoch V is the beginning of the log if V belongs to
--   the current span or the one before, while the log does not exist;
--   the span of `born` or the one before, once the log exists.
-- Any other V.0 is answered as a loss. This order of events shows why no message is skipped silently:
--   1. A read at the time s finds no log and answers V.0.
--   2. A message is appended at t >= s. The message and its log are kept until t + kept_seconds at least.
--   3. V.0 comes back at u. If the log has existed since t, the reader starts at offset 1, or `oldest` shows that entries
--      were trimmed. If the log of t is gone, it expired at or after t + kept_seconds >= s + kept_seconds. V counts for
--      two spans at most, and these end before s + kept_seconds: V.0 is refused.
-- When an append creates a log, `belfry.born` on the log's channel names the vacant epochs that lead to it. Connected
-- readers go on from there without a read.
--
-- Three ways for a log to end before its time:
-- * `LogStore.forget` erases it. A position E.n of it is refused, because E is random and never given again. A reader at
--   V.0 is told nothing: nobody is owed an erased message, and a note of the erasure would keep the user's name.
-- * FLUSHALL, an empty restart and a failover that lost something raise the losses, and so change V. A worker that does not
--   know the new number yet may create the log, or accept V.0, under the old one. The log keeps that number in `losses`:
--   the first worker that knows more begins a new epoch, and every reader is told. A worker that knows less than the log
--   refuses V.0 of former losses, because V is computed from the log's own number.
--   On a cluster, the id of the server that the log's server took over from takes the place of the losses. A slot that
--   moves to another shard may change it: then a reader at V.0 is told of a loss that was none. FLUSHALL does not change it.
-- * Redis evicts all keys of the log. A position E.n is refused, as after an erasure. A reader at V.0 is told nothing:
--   no trace is left. Belfry reports a store that may evict as a fault.
--
-- Leaves to the script `open`, and `now` (Unix seconds); and of the log that was opened last: the names of its keys,
-- epoch, history (the log's first epoch: what message ids and marks belong to, for they survive a change of epoch),
-- top (newest offset ever given), oldest (oldest offset not trimmed), and the functions `trim`, `drop`, `id_at`,
-- `announce`, `hold`, `place_of` and `page`.

-- Steps that one call spends on what is too old, and what each log may take when they are spent: more than an append adds.
local expired_left, aged_left, LEAST = 1000, 100, 2
local TRIM_MOST = 1000 -- offsets at once, where a log may be shorter than before: what is left goes with what comes next

local SPANS = 3 -- of a vacant epoch, within the time that an entry is kept
local EPOCH_LENGTH = 6
local EPOCHS = 56800235581 -- the largest prime below 62 ^ EPOCH_LENGTH
local ALPHABET = '0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ'

local losses_told, server_known = string.match(ARGV[3], '^(%d+) ?(%x*)$')
local kept_seconds, losses_known = tonumber(ARGV[2]), tonumber(losses_told) or 0
local servers_replaced = string.match(ARGV[3], '^replaced(.*)')
local held_seconds = kept_seconds + math.floor(kept_seconds / 16)
local lineage, info = replication()
-- A worker looks at a server before it does anything there. Otherwise what another server acknowledged to it, and this one
-- lacks, would be counted only after readers were given what came later.
if (server_known or '') ~= '' and server_known ~= lineage then
  return redis.error_reply('UNLOOKED the worker has not looked at this server')
end
local time = redis.call('TIME')
local now = tonumber(time[1])
local now_ms = now * 1000 + math.floor(tonumber(time[2]) / 1000)

local log, meta, keys, ids, expiry, live
local epoch, top, oldest, history, losses, held_until, first_expiry
local vacant -- the log does not exist
local starts -- the vacant epochs whose offset 0 is the beginning of the log, nil until asked for
local former, revision, gone_base, gone, born -- nil until `details` were asked for: an append does without. A reply ends at a nil

local function details()
  if former then return end
  local known = vacant and {} or redis.call('HMGET', meta, 'former', 'revision', 'gone_base', 'gone', 'born')
  former, revision, gone_base, gone = known[1] or '', tonumber(known[2] or 0), tonumber(known[3] or 0), known[4] or ''
  born = vacant and now or tonumber(known[5] or 0)
end

local function span_of(time) return math.floor(time * SPANS / kept_seconds) end

-- The epoch of the log while it does not exist, as `Lineage.vacant_epoch` computes it too: the text as one number, modulo
-- a prime. It need not be secret. It must differ between logs that are read together, and between spans of one log.
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

-- The epochs whose offset 0 is the beginning of a log that was created at that time.
local function starts_at(time)
  local span = span_of(time)
  return vacant_epoch(span) .. ' ' .. vacant_epoch(span - 1)
end

-- Whether offset 0 of this epoch is the beginning of the log. One that was created before vacant epochs were has none.
local function is_start(known_epoch)
  if ARGV[3] == '' or born == 0 or #known_epoch ~= EPOCH_LENGTH then return false end
  starts = starts or starts_at(born)
  return string.find(starts, known_epoch, 1, true)
end

-- Message ids of entries that left. With the last one `ids` is gone, and with it its TTL: `hold` must see to the next.
local function unlink(lowest, highest)
  if redis.call('ZREMRANGEBYSCORE', ids, lowest, highest) > 0 and redis.call('EXISTS', ids) == 0 then held_until = 0 end
end

-- When to look for expired entries: a log without them pays nothing.
local function note_first_expiry()
  first_expiry = redis.call('ZRANGE', expiry, 0, 0, 'WITHSCORES')[2]
  if first_expiry then
    redis.call('HSET', meta, 'expires', first_expiry)
  else
    redis.call('HDEL', meta, 'expires')
  end
end

-- Expiries of entries that were trimmed, from the offset `from` on.
local function unexpire(from)
  local offsets = {}
  for offset = from, oldest - 1 do offsets[#offsets + 1] = text(offset) end
  if redis.call('ZREM', expiry, unpack(offsets)) > 0 then note_first_expiry() end
end

-- Entries before the offset `to` are trimmed, with what leads to them.
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

-- One entry leaves before its time: retracted, replaced or expired. Answers whether it was there.
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

-- The log changed otherwise than by an append: count it, and tell every reader. `record` is live only.
local function announce(record)
  details()
  revision = redis.call('HINCRBY', meta, 'revision', 1)
  redis.call(PUBLISH, live, epoch .. '.0 ' .. record)
end

-- The log has been used: one TTL for all of it. It is a sixteenth longer than it must be and set again when that has
-- passed, for to look costs less than a write. Comes last.
-- A log that keeps no message id is looked at each time: what an append creates has no TTL yet. A run's log never keeps
-- one, and never lives longer than it must.
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

-- The offset of `epoch.offset` in this log, if it is a position in its history.
local function place_of(position)
  details()
  local known_epoch, offset = string.match(position, '^(%w+)%.(%d+)$')
  if known_epoch == epoch then return tonumber(offset) end
  local last = string.match(' ' .. former, ' ' .. known_epoch .. '%.(%d+)')
  if last and tonumber(offset) <= tonumber(last) then return tonumber(offset) end
  if offset == '0' and is_start(known_epoch) then
    former = former == '' and position or former .. ' ' .. position -- the reply says so, nothing keeps it
    return 0
  end
end

-- What every read answers, see `Page`; `start` is the offset that `found` was read from, -1 = none.
local function page(start, found)
  details()
  local kept = vacant and 0 or redis.call('XLEN', log)
  return {epoch, top, oldest, kept, revision, gone_base, gone, history, former, start, found}
end

-- What the stream still holds belongs to a history that nobody can name any more; its ids would refuse ours.
local function begin(fresh)
  epoch, history, losses, vacant, former = fresh, fresh, losses_known, false, nil
  local is_new = redis.call('DEL', log, meta, keys, ids, expiry) == 0
  redis.call('HSET', meta, 'epoch', epoch, 'top', 0, 'oldest', 1, 'lineage', lineage, 'losses', losses_known,
    'aged', text(now), 'born', is_new and text(now) or 0)
  if is_new and redis.call('PUBSUB', NUMSUB, live)[2] > 0 then
    redis.call(PUBLISH, live, epoch .. '.0 belfry.born ' .. starts_at(now))
  end
end

-- The server is another one than before, or the worker knows of a loss that this log has not told yet.
-- Only a loss ends the positions before: `lineage_look.lua` decides whether a failover lost something. On a cluster every
-- failover counts as a loss.
local function begin_epoch(fresh, before)
  details()
  local replaced = servers_replaced and was_replaced(info, before, servers_replaced)
  local told = ARGV[3] ~= '' and (replaced or losses_known > losses)
  former = told and '' or formers(epoch, top, former)
  epoch, losses = fresh, math.max(losses, losses_known)
  redis.call('PERSIST', meta) -- so that a store without room does not refuse what follows: reading goes on
  redis.call('HSET', meta, 'epoch', epoch, 'history', history, 'former', former, 'lineage', lineage, 'losses', losses)
  held_until = 0
end

-- The stream is gone and the meta still counts what was in it: Redis evicted it, for a stream that became empty stays.
-- No position before is good any more. Offsets go on, so that none is given twice, and so do message ids and marks: what
-- was sent once is not sent again. An entry that is added and removed leaves an empty stream, whose loss is noticed too.
local function begin_after_loss(fresh)
  redis.call('DEL', keys, ids, expiry) -- takes no room, so that a store without room does not refuse what follows
  redis.call('HDEL', meta, 'gone_base', 'gone', 'expires')
  epoch, oldest, former, first_expiry, held_until = fresh, top + 1, nil, false, 0
  redis.call('XADD', log, text(top) .. '-0', 'r', '')
  redis.call('XDEL', log, text(top) .. '-0')
  redis.call('HSET', meta, 'epoch', epoch, 'history', history, 'former', '', 'oldest', text(oldest), 'aged', text(now))
end

-- Trim by age. A step per entry, a bound per call: an append adds one entry, so two keep up with any backlog.
-- `aged` is the time of the oldest entry when it was last looked at; what stands there now is as young or younger.
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

-- Let expired entries go.
local function let_expire()
  local found, nameless = {}, false -- entries stored before `link` that no id leads to
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

-- Open the log whose keys begin at KEYS[at]; `fresh` is the epoch that it gets where its server is another one than
-- before, or where `creates` and it does not exist. Without `creates` such a log stays vacant. The script calls `hold`
-- when all is written.
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
