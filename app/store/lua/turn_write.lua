-- Writes a question into its conversation, in the same step that starts its run, so neither exists without the other.
-- It replaces the turn at its place and all turns after it. Runs after run_admit.lua, which provides `now` and `text`.
--
-- KEYS[8] conversation   hash, see `conversations`
-- KEYS[9] index          zset: conversation id -> Unix ms of its last use
-- ARGV[11] revision that the worker read, '' = the conversation is new
-- ARGV[12] place of the turn, from 0
-- ARGV[13] turn: `<run id> <JSON>`
-- ARGV[14] conversation id, the last part of the name KEYS[8]
-- ARGV[15] title, where the conversation is new
-- ARGV[16] model
-- ARGV[17] seconds to keep the conversation after its last use
-- ARGV[18] maximum number of conversations; the ones that were not used for the longest time are removed
--
-- Reply: none.

local place = tonumber(ARGV[12])
for at = place, tonumber(redis.call('HGET', KEYS[8], 'count') or 0) - 1 do
  redis.call('HDEL', KEYS[8], 'turn:' .. at, 'answer:' .. at)
end
if ARGV[11] == '' then redis.call('HSET', KEYS[8], 'created', text(now), 'title', ARGV[15]) end
redis.call('HSET', KEYS[8], 'turn:' .. place, ARGV[13], 'count', place + 1, 'used', text(now), 'model', ARGV[16],
  'running', ARGV[1])
redis.call('HINCRBY', KEYS[8], 'revision', 1)
redis.call('EXPIRE', KEYS[8], ARGV[17])
redis.call('ZREMRANGEBYSCORE', KEYS[9], '-inf', text(now - tonumber(ARGV[17]) * 1000))
redis.call('ZADD', KEYS[9], text(now), ARGV[14])
redis.call('EXPIRE', KEYS[9], ARGV[17])
local over = redis.call('ZCARD', KEYS[9]) - tonumber(ARGV[18])
if over > 0 then
  for _, id in ipairs(redis.call('ZRANGE', KEYS[9], 0, over - 1)) do
    redis.call('ZREM', KEYS[9], id)
    redis.call('DEL', string.sub(KEYS[8], 1, -#ARGV[14] - 1) .. id)
  end
end
