-- Read a page of a log, newest first, from before a position.
-- Runs after open.lua, and shares its keys, arguments and results.
--
-- ARGV[4] maximum number of entries
-- ARGV[5] bytes of records after which the page ends; it always has at least one entry if there is one
-- ARGV[6] ... positions `epoch.offset`. If one is of this log's history, entries with a smaller offset are read.
--             No position at all = from the newest; positions, but none of this history = nothing is read.
--
-- Reply: a `page` of {{id, fields}, ...} from `before`, which is -1 if no position was of this history.

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
