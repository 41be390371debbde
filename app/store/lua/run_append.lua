-- Appends records to the log of a run that is under way, and ends the run if asked to, in one atomic step. The first
-- end decides how the run ended. Nothing is appended after that, so a producer that was considered dead can't write on.
-- If a failover lost records, nothing is appended either: the producer then ends the run. Runs after lineage.lua.
--
-- KEYS[1] state    hash of the run
-- KEYS[2] meta     hash of the run's log, see open.lua
-- KEYS[3] log      stream
-- KEYS[4] live     channel
-- KEYS[5] active   zset of the user's completions under way; only if the run ends
-- KEYS[6] tokens   string: tokens used today; only if the run ends
-- ARGV[1] id
-- ARGV[2] offset of the first record, so that records of a repeated call are not appended again; 0 = at the end
-- ARGV[3] seconds to keep the run
-- ARGV[4] how the run ends: done, stopped or failed; '' = it continues
-- ARGV[5] why it failed, JSON, '' = it did not
-- ARGV[6] usage, JSON, '' = unknown
-- ARGV[7] tokens used, -1 = unknown: each record before the ending records then counts as one
-- ARGV[8] epoch to give the log if its server is another one than before
-- ARGV[9] ... records
--
-- Reply: {status, newest offset, receivers of the last record, taken, turn}. `turn` is `<place> <conversation>` of the
-- run's turn, '' if the run has none or continues. taken = 0: the run had ended before, is gone (status ''), or lost
-- the records before the first record (status 'running').

local state = redis.call('HMGET', KEYS[1], 'status', 'watched', 'turn')
local meta = redis.call('HMGET', KEYS[2], 'epoch', 'top', 'lineage', 'history', 'former')
local epoch, top, lineage = meta[1], tonumber(meta[2] or 0), replication()
if state[1] ~= 'running' or not epoch then
  return {state[1] or '', top, tonumber(state[2] or 0), 0, state[3] or ''}
end

local time = redis.call('TIME')
local next, receivers = tonumber(ARGV[2]), 0
if next > top + 1 then return {'running', top, 0, 0, ''} end
if (meta[3] or '') ~= lineage then
  redis.call('HSET', KEYS[2], 'epoch', ARGV[8], 'history', meta[4] or epoch, 'former', formers(epoch, top, meta[5] or ''),
    'lineage', lineage)
  epoch = ARGV[8]
end
if next == 0 then next = top + 1 end
for i = 9, #ARGV do
  if next > top then
    redis.call('XADD', KEYS[3], text(next) .. '-0', 'r', ARGV[i], 't', time[1])
    receivers = redis.call(PUBLISH, KEYS[4], epoch .. '.' .. text(next) .. ' ' .. ARGV[i])
    if next == 1 then redis.call('EXPIRE', KEYS[3], ARGV[3]) end
    top = next
  end
  next = next + 1
end
redis.call('HSET', KEYS[2], 'top', text(top))
if ARGV[4] == '' then return {'running', top, receivers, 1, ''} end

local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local tokens = tonumber(ARGV[7])
if tokens < 0 then tokens = top - (ARGV[4] == 'done' and 1 or 2) end
redis.call('HSET', KEYS[1], 'status', ARGV[4], 'ended', text(now), 'watched', receivers)
if ARGV[5] ~= '' then redis.call('HSET', KEYS[1], 'error', ARGV[5]) end
if ARGV[6] ~= '' then redis.call('HSET', KEYS[1], 'usage', ARGV[6]) end
if tokens > 0 then
  redis.call('INCRBY', KEYS[6], text(tokens))
  redis.call('EXPIRE', KEYS[6], 172800)
end
redis.call('ZREM', KEYS[5], ARGV[1])
for i = 1, 3 do redis.call('EXPIRE', KEYS[i], ARGV[3]) end
return {ARGV[4], top, receivers, 1, state[3] or ''}
