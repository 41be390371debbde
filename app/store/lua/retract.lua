-- Take one message out of a log, by its id. It disappears from the feed of every reader.
-- Runs after open.lua, and shares its keys, arguments and results.
--
-- ARGV[4] message id
--
-- Reply: {1, `acknowledgement`}, or {0, ''} if the log does not keep such a message. Announces `removed`. The id stays
-- remembered, so a publisher's late retry doesn't bring the message back.

open(1, ARGV[1])
local offset = redis.call('ZSCORE', ids, ARGV[4])
local found = offset and drop(tonumber(offset))
hold()
if not found then return {0, ''} end
announce('removed {"ids":["' .. ARGV[4] .. '"]}')
return {1, acknowledgement(lineage, info)}
