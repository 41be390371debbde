-- Writes the answer to a question into its conversation, once. A late or repeated answer changes nothing. Neither does
-- an answer to a question that was replaced or deleted.
--
-- KEYS[1] conversation   hash, see `conversations`
-- KEYS[2] live           channel of the user's own log
-- ARGV[1] place of the turn, from 0
-- ARGV[2] id of its run
-- ARGV[3] answer, JSON
-- ARGV[4] record that tells open pages that the conversation changed
--
-- Reply: whether the answer was written.

local turn = redis.call('HGET', KEYS[1], 'turn:' .. ARGV[1])
if not turn or string.match(turn, '^%S+') ~= ARGV[2] then return 0 end
if redis.call('HGET', KEYS[1], 'answer:' .. ARGV[1]) then return 0 end
redis.call('HSET', KEYS[1], 'answer:' .. ARGV[1], ARGV[3])
if redis.call('HGET', KEYS[1], 'running') == ARGV[2] then redis.call('HDEL', KEYS[1], 'running') end
redis.call(PUBLISH, KEYS[2], ARGV[4])
return 1
