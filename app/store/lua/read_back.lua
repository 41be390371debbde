-- Read a page of a log, newest first, from before a position.
-- Runs after open.lua, whose keys, arguments and results it shares.
--
-- ARGV[4] most entries to answer
-- ARGV[5] bytes of records after which no further entry is answered; at least one entry comes in any case
-- ARGV[6] ... positions `epoch.offset`; entries with a smaller offset are read where one is of this log's history.
--             None at all = from the newest; some, but none of this history = nothing is read.
--
-- Reply: a `page` of {{id, fields}, ...} from `before`, which is -1 when no position was of this history.

open(1, ARGV[1])
hold()

local before = #ARGV > 5 and -1 or top + 1
for i = 6, #ARGV do
  before = place_of(ARGV[i]) or before
end

local found = {}
if before > 0 then
  local budget = tonumber(ARGV[5])
  for i, entry in ipairs(redis.call('XREVRANGE', log, '(' .. text(before) .. '-0', '-', 'COUNT', ARGV[4])) do
    found[i] = entry
    budget = budget - #entry[2][2]
    if budget <= 0 then break end
  end
end
return page(before, found)
