-- Read a page of a log, oldest first, from the position that a cursor holds for it.
-- Runs after open.lua, and shares its keys, arguments and results. Every reader of a log has a position in it.
--
-- ARGV[4] maximum number of entries
-- ARGV[5] maximum bytes of records; the page always has at least one entry if there is one
-- ARGV[6] ... positions `epoch.offset`; the one of this log's history is read from, none = nothing is read
--
-- Reply: a `page` of {{id, fields}, ...} from `after`, which is -1 if no position was of this history.

open(1, ARGV[1])
hold()

local after = -1
for i = 6, #ARGV do
  after = place_of(ARGV[i]) or after
end

local found = {}
if after >= oldest - 1 and after < top then
  local budget = tonumber(ARGV[5])
  for i, entry in ipairs(redis.call('XRANGE', log, '(' .. text(after) .. '-0', '+', 'COUNT', ARGV[4])) do
    budget = budget - #entry[2][2]
    if i > 1 and budget < 0 then break end
    found[i] = entry
  end
end
return page(after, found)
