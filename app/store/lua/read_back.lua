-- Read a page of a log, newest first, from before a position.
-- Runs after open.lua, whose keys, arguments and results it shares.
--
-- ARGV[3] most entries to answer
-- ARGV[4] bytes of records after which no further entry is answered; at least one entry comes in any case
-- ARGV[5] ... positions `epoch.offset`; entries with a smaller offset are read where one is of this log's epoch.
--             None at all = from the newest; some, but none of this epoch = nothing is read.
--
-- Reply: a `page` of {{id, fields}, ...} from `before`, which is -1 when no position was of this epoch.

local before = #ARGV > 4 and -1 or top + 1
for i = 5, #ARGV do
  local known_epoch, offset = string.match(ARGV[i], '^(%w+)%.(%d+)$')
  if known_epoch == epoch then before = tonumber(offset) end
end

local found = {}
if before > 0 then
  local budget = tonumber(ARGV[4])
  for i, entry in ipairs(redis.call('XREVRANGE', KEYS[1], '(' .. text(before) .. '-0', '-', 'COUNT', ARGV[3])) do
    found[i] = entry
    budget = budget - #entry[2][2]
    if budget <= 0 then break end
  end
end
return page(before, found)
