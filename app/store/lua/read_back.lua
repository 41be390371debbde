-- Read a page of a log, newest first, from before a position.
-- Runs after open.lua, whose keys, arguments and results it shares.
--
-- ARGV[3] most entries to answer
-- ARGV[4] ... positions `epoch.offset`; entries with a smaller offset are read where one is of this log's epoch.
--             None at all = from the newest; some, but none of this epoch = nothing is read.
--
-- Reply: a `page` of {{id, fields}, ...} from `before`, which is -1 when no position was of this epoch.

local before = #ARGV > 3 and -1 or top + 1
for i = 4, #ARGV do
  local known_epoch, offset = string.match(ARGV[i], '^(%w+)%.(%d+)$')
  if known_epoch == epoch then before = tonumber(offset) end
end

local found = {}
if before > 0 then
  found = redis.call('XREVRANGE', KEYS[1], '(' .. text(before) .. '-0', '-', 'COUNT', ARGV[3])
end
return page(before, found)
