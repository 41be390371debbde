-- Looks whether the server is still the same, and counts the failovers that lost something. Runs after lineage.lua.
--
-- A server that took over has everything that its predecessor acknowledged up to a replication offset, which INFO
-- reports. Each worker knows the offset that its latest acknowledged change needs. So each worker that was registered
-- at the predecessor compares the two offsets when it first comes here:
--
--   its change is beyond the offset   it is lost: the failover is counted as a loss at once
--   all workers find their changes    nothing is lost, and no reader is notified
--   a worker does not come in time    its acknowledged changes are unknown: a loss is counted
--
-- Until this is decided, logs continue under a new epoch with the earlier positions (see `open.lua`). After a count,
-- every log begins one more epoch without those positions: every reader gets `reset`.
--
-- A primary may have been replaced without knowing it. Workers then leave it one after the other, and it may still
-- acknowledge changes after a loss was counted. The count does not cover those changes. So a worker that comes later
-- with such a change counts once more.
--
-- A store without this hash is new or was emptied, for example by FLUSHALL. The first worker that looks begins the
-- count with the Unix time, or with one more than the count that it knew. So no count is used twice, and every worker
-- sees it grow.
--
-- KEYS[1] lineage  hash: id (the replication id at the last look), losses (grows with each failover that lost something
--                  and each emptying of the store), acknowledged (the offset up to which workers that left this server
--                  may have had changes acknowledged), told (Unix ms of the latest count on this server), due (Unix ms
--                  until which workers are awaited)
-- KEYS[2] workers  zset: worker -> Unix ms of its last look at this server
-- KEYS[3] awaited  zset: the workers of the predecessor that have not come yet
-- ARGV[1] losses that the worker knows: a server that was set back may have forgotten one; 0 = the worker never looked
-- ARGV[2] the id that the worker saw before, '' = none
-- ARGV[3] ms since that server acknowledged its last change of a log, by the worker's clock; '' = it never did
-- ARGV[4] the offset that this server must have reached to have the worker's changes
-- ARGV[5] name of the worker
-- ARGV[6] ms within which workers must come; a worker that has not looked for this long counts as gone
-- ARGV[7] '1' = the worker stops, and no acknowledged change of it is pending any more
--
-- Reply: {id, losses, replication offset}

local id, info = replication()
redis.call('PERSIST', KEYS[1]) -- so that a full store does not refuse the later writes
local known = redis.call('HMGET', KEYS[1], 'id', 'losses', 'acknowledged', 'told', 'due')
local told, due = tonumber(known[4]), tonumber(known[5])
local time = redis.call('TIME')
local losses = known[2] and math.max(tonumber(known[2]), tonumber(ARGV[1])) or math.max(tonumber(time[1]), ARGV[1] + 1)
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local offset = tonumber(string.match(info, 'master_repl_offset:(%d+)') or 0)
local before, reached = predecessor(info)
local lost = false

local function await_workers()
  redis.call('ZUNIONSTORE', KEYS[3], 1, KEYS[2])
  redis.call('DEL', KEYS[2])
  due = now_ms + tonumber(ARGV[6])
  redis.call('HSET', KEYS[1], 'due', text(due))
end

-- A store of an older version has no `acknowledged` and does not know its workers. Their changes are unknown, so this
-- counts as a loss.
if known[1] ~= id then
  told, due = nil, nil
  redis.call('HDEL', KEYS[1], 'told')
  redis.call('HSET', KEYS[1], 'id', id, 'losses', losses, 'acknowledged', '0')
  if before ~= '' then
    local is_open = redis.call('ZCARD', KEYS[3]) > 0 -- whether the failover before this one is still undecided
    lost = is_open or known[1] ~= before or not known[3] or tonumber(known[3]) > reached
    await_workers()
  end
end

if ARGV[2] ~= '' and ARGV[2] ~= id then
  redis.call('ZREM', KEYS[3], ARGV[5])
  local lacks = before ~= '' and (ARGV[2] ~= before or tonumber(ARGV[4]) > reached)
  local is_later = ARGV[3] ~= '' and now_ms - tonumber(ARGV[3]) >= (told or 0)
  lost = lost or lacks and (is_later or not told)
end

if due and now_ms >= due then
  lost = lost or not told and redis.call('ZCARD', KEYS[3]) > 0
  redis.call('DEL', KEYS[3])
  redis.call('HDEL', KEYS[1], 'due')
end

if lost then
  losses = losses + 1
  redis.call('DEL', KEYS[3])
  redis.call('HSET', KEYS[1], 'told', text(now_ms))
end
if losses > tonumber(known[2] or 0) then redis.call('HSET', KEYS[1], 'losses', losses) end

-- The changes that were acknowledged to a worker that is gone are not beyond the current offset.
local gone = redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now_ms - tonumber(ARGV[6]))
if ARGV[7] == '1' then
  gone = 1
  redis.call('ZREM', KEYS[2], ARGV[5])
else
  redis.call('ZADD', KEYS[2], now_ms, ARGV[5])
end
if gone > 0 then redis.call('HSET', KEYS[1], 'acknowledged', text(offset)) end
return {id, losses, offset}
