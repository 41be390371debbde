-- Begin a new epoch of a log whose stream does not have the entries that its meta counts. Somebody deleted entries, or
-- restored an earlier copy of one of the two keys. Runs after open.lua, and shares its keys, arguments and results.
--
-- Earlier positions are no longer valid. Existing entries stay readable, and missing ones count as gone. Offsets
-- continue after the newest one that either key names, so that no offset is given twice. Message ids and marks continue
-- too, so that no message is sent again.
--
-- Reply: 1 if the log was mended, 0 if no entry was missing

local AT_ONCE = 50 -- entries per read, because Redis copies their records for the script

local function offset_of(entry) return entry and tonumber(string.match(entry[1], '^%d+')) end

local function count_gone()
  local count = 0
  for offset = oldest, top do
    if has(gone, gone_base, offset) then count = count + 1 end
  end
  return count
end

-- Return the offsets from `from` to `to` that the stream does not have, as a set.
local function missing(from, to)
  local base, bits, expected = base_of(from), '', from
  repeat
    local found = redis.call('XRANGE', log, text(expected) .. '-0', '+', 'COUNT', AT_ONCE)
    for _, entry in ipairs(found) do
      for offset = expected, offset_of(entry) - 1 do bits = with(bits, base, offset, true) end
      expected = offset_of(entry) + 1
    end
  until #found == 0
  for offset = expected, to do bits = with(bits, base, offset, true) end
  return base, bits
end

open(1, ARGV[1])
if vacant then return 0 end
details()
local last = offset_of(redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1]) or 0
if last <= top and redis.call('XLEN', log) + count_gone() == top - oldest + 1 then return 0 end

redis.call('PERSIST', meta) -- so that a full store does not refuse the later writes
top = math.max(top, last)
oldest = offset_of(redis.call('XRANGE', log, '-', '+', 'COUNT', 1)[1]) or top + 1
gone_base, gone = missing(oldest, top)
redis.call('ZREMRANGEBYSCORE', keys, '-inf', '(' .. text(oldest))
redis.call('ZREMRANGEBYSCORE', ids, '-inf', '(' .. text(oldest))
for offset = oldest, top do
  if has(gone, gone_base, offset) then redis.call('ZREMRANGEBYSCORE', ids, text(offset), text(offset)) end
end
redis.call('HSET', meta, 'epoch', ARGV[1], 'history', history, 'former', '', 'top', text(top), 'oldest', text(oldest),
  'gone_base', text(gone_base), 'gone', gone, 'aged', 0)
held_until = 0
hold()
return 1
