-- Gives a conversation another title, unless it is gone.
--
-- KEYS[1] conversation   hash, see `conversations`
-- ARGV[1] title
--
-- Reply: whether the conversation exists.

if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
redis.call('HSET', KEYS[1], 'title', ARGV[1])
return 1
