-- Take one message out of a log, by its id: it is gone from the feed of every reader.
-- Runs after open.lua, whose keys, arguments and results it shares.
--
-- ARGV[4] message id
--
-- Reply: {1, `acknowledgement`}, or {0, ''} where no such message is kept. Announces `removed`. The id stays remembered: whoever
-- publishes it again, by a late retry say, doesn't bring the message back.

open(1, ARGV[1])
local offset = redis.call('ZSCORE', ids, ARGV[4])
local found = offset and drop(tonumber(offset))
hold()
if not found then return {0, ''} end
announce('removed {"ids":["' .. ARGV[4] .. '"]}')
return {1, acknowledgement(lineage, info)}
