-- Read a page of a log, oldest first, from the position that a cursor holds for it.
-- Runs after open.lua, whose keys, arguments and results it shares: every reader of a log has a position in it.
--
-- ARGV[3] most entries to answer
-- ARGV[4] most bytes of records to answer; at least one entry comes in any case
-- ARGV[5] ... positions `epoch.offset`; the one of this log's epoch is read from, none = nothing is read
--
-- Reply: a `page` of {{id, fields}, ...} from `after`, which is -1 when no position was of this epoch.

local after = -1
for i = 5, #ARGV do
  local known_epoch, offset = string.match(ARGV[i], '^(%w+)%.(%d+)$')
  if known_epoch == epoch then after = tonumber(offset) end
end

local found = {}
if after >= oldest - 1 and after < top then
  local budget = tonumber(ARGV[4])
  for i, entry in ipairs(redis.call('XRANGE', KEYS[1], '(' .. text(after) .. '-0', '+', 'COUNT', ARGV[3])) do
    budget = budget - #entry[2][2]
    if i > 1 and budget < 0 then break end
    found[i] = entry
  end
end
return page(after, found)
