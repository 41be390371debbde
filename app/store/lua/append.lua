-- Append messages to logs, in this order. Each message is appended once per message id, gets the next offset of its
-- log, and is kept and announced in one atomic step. A single message is a chunk of one. Runs after room.lua and
-- open.lua, and shares the keys, arguments and results of open.lua.
--
-- KEYS    seven for each message: the keys of its log, then
--   id       string: `<history>.<offset> <digest> <epoch to give>` of the message with this id
-- ARGV[1] number of offsets to keep
-- ARGV[4] ... six for each message:
--   epoch to give its log, see `open`
--   record
--   digest of the content
--   seconds to remember the message id
--   message id
--   `<expiry, Unix ms, 0 = never> <1 = live only: announced, not kept, offset 0> <message key>`, '' = none of these
--
-- Reply: the `acknowledgement`, then for each message {status, epoch, offset, receivers} or {'failed', why}. The status
-- is 'appended', 'duplicate' or 'reused' (the id is known with other content). A failure does not affect the other
-- messages.
-- A duplicate returns the first offset. It appends and announces nothing, and its id is remembered from now on. The epoch
-- to give differs between commands. If the stored one is the same, this is the same command, sent again because its
-- answer was lost. It returns 'appended', as the lost answer did.
-- A message that replaced another one is followed by `updated`, because readers can't know whether they had read that
-- one.

local length = tonumber(ARGV[1])
local counted -- the meta that counts an entry which is not added yet
local promised -- the key of a message id that is stored already, while its message is not appended yet

-- Store the offset under the message's id. The id may still lead to an earlier entry, if the id is no longer
-- remembered. That entry is removed, because no id would lead to it. Returns whether an entry was removed.
local function link(at, id)
  if redis.call('ZADD', ids, 'NX', at, id) == 1 then return false end
  local replaced = drop(tonumber(redis.call('ZSCORE', ids, id)))
  redis.call('ZADD', ids, at, id)
  return replaced
end

-- Put an entry at the end of the log. Returns whether it replaced an earlier entry.
local function keep(at, record, id, expires, key)
  trim(top + 2 - length)
  if expires then
    redis.call('ZADD', expiry, expires, at)
    if not first_expiry then redis.call('EXPIRE', expiry, held_seconds) end
    if not first_expiry or tonumber(expires) < tonumber(first_expiry) then redis.call('HSET', meta, 'expires', expires) end
  end
  -- The meta comes first. If Redis refuses the second of the two writes to its user, the stream is not ahead of its meta:
  -- it would then refuse the next offset, and with it every further message.
  redis.call('HSET', meta, 'top', at)
  counted = meta
  if expires then
    redis.call('XADD', log, at .. '-0', 'r', record, 't', now, 'x', expires)
  else
    redis.call('XADD', log, at .. '-0', 'r', record, 't', now)
  end
  -- The message is stored from here on. If Redis refuses a later command, the message must stay known by its id:
  -- otherwise, a publisher that repeats it would store it twice. Readers find it with the next message or comparison.
  counted, promised = nil, nil
  local replaced = link(at, id)
  if not key then return replaced end
  local earlier = redis.call('ZSCORE', keys, key)
  replaced = earlier and drop(tonumber(earlier)) or replaced
  redis.call('ZADD', keys, at, key)
  redis.call('EXPIRE', keys, held_seconds)
  return replaced
end

local function options_of(text)
  local expires, live_only, key = string.match(text, '^(%d+) (%d) (.*)$')
  return expires ~= '0' and expires, live_only == '1', key ~= '' and key
end

-- Return the first answer to this message if its id is known. Otherwise store the id with this offset and return nil.
local function remembered(name, offset, digest, seconds, call)
  local entry = history .. '.' .. offset .. ' ' .. digest .. ' ' .. call
  local known = redis.call('SET', name, entry, 'NX', 'GET', 'EX', seconds)
  if not known then return end
  local known_history, known_offset, known_digest, known_call = string.match(known, '^(%w+)%.(%d+) (%w+) ?(%w*)$')
  if known_history == history then
    -- A repetition writes too: WAIT counts from the last write of a connection, and `acknowledgement` expects a change.
    redis.call('EXPIRE', name, seconds)
    local status = known_digest ~= digest and 'reused' or known_call == call and 'appended' or 'duplicate'
    return {status, epoch, tonumber(known_offset), redis.call('PUBSUB', NUMSUB, live)[2]}
  end
  -- An id of an earlier history has no entry any more: its entry went with the log of that history.
  redis.call('SET', name, entry, 'EX', seconds)
end

local function append(number)
  local name, at = 7 * number, 6 * number - 2
  open(name - 6, ARGV[at], true)
  local record = ARGV[at + 1]
  local expires, live_only, key = false, false, false
  if ARGV[at + 5] ~= '' then expires, live_only, key = options_of(ARGV[at + 5]) end
  local offset, replaced = live_only and '0' or text(top + 1), false
  local first = remembered(KEYS[name], offset, ARGV[at + 2], ARGV[at + 3], ARGV[at])
  if first then
    hold()
    return first
  end

  promised = KEYS[name]
  if not live_only then replaced = keep(offset, record, ARGV[at + 4], expires, key) end
  promised = nil
  local receivers = redis.call(PUBLISH, live, epoch .. '.' .. offset .. ' ' .. record)
  if replaced then announce('updated {}') end
  hold()
  return {'appended', epoch, tonumber(offset), receivers}
end

local outcomes = {acknowledgement(lineage, info)}
for number = 1, #KEYS / 7 do
  local done, outcome = pcall(append, number)
  if not done then
    if promised then redis.call('DEL', promised) end
    if counted then redis.call('HSET', counted, 'top', text(top)) end
    promised, counted = nil, nil
    outcome = {'failed', type(outcome) == 'table' and outcome.err or tostring(outcome)}
  end
  outcomes[number + 1] = outcome
end
return outcomes
