-- Read a page of a log, newest first, from before a position.
-- Runs after open.lua, whose keys, arguments and results it shares.
--
-- ARGV[4] most entries to answer
-- ARGV[5] ... positions `epoch.offset`; entries with a smaller offset are read where one is of this log's history.
--             None at all = from the newest; some, but none of this history = nothing is read.
--
-- Reply: a `page` of {{id, fields}, ...} from `before`, which is -1 when no position was of this history.

local before = #ARGV > 4 and -1 or top + 1
for i = 5, #ARGV do
  before = place_of(ARGV[i]) or before
end

local found = {}
if before > 0 then
  found = redis.call('XREVRANGE', KEYS[1], '(' .. text(before) .. '-0', '-', 'COUNT', ARGV[4])
end
return page(before, found)
