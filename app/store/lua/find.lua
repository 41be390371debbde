-- Find messages of a log by their ids. Without ids it tells what is kept, which is all that a count needs.
-- Runs after open.lua, whose keys, arguments and results it shares.
--
-- ARGV[4] ... message ids
--
-- Reply: a `page` of offsets, one per id, false where no such message is kept.

open(1, ARGV[1])
hold()

local found = {}
if #ARGV > 3 then found = redis.call('ZMSCORE', ids, unpack(ARGV, 4)) end
return page(-1, found)
