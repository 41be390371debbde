-- Find messages of a log by their ids. Without ids, the page shows what the log keeps, which is enough for a count.
-- Runs after open.lua, and shares its keys, arguments and results.
--
-- ARGV[4] ... message ids
--
-- Reply: a `page` with one offset for each id, false if the log does not keep that message.

open(1, ARGV[1])
hold()

local found = {}
if #ARGV > 3 then found = redis.call('ZMSCORE', ids, unpack(ARGV, 4)) end
return page(-1, found)
