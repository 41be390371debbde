-- Refuses a question whose conversation is another one than the asking worker read. Runs after run_known.lua and before
-- run_admit.lua, so that nothing is counted for what is refused.
--
-- KEYS[8] conversation   hash, see `conversations`
-- ARGV[11] revision that was read, '' = there was no conversation
--
-- Reply: {'conversation_changed', -1}, or none: then the scripts after it go on.

if (redis.call('HGET', KEYS[8], 'revision') or '') ~= ARGV[11] then return {'conversation_changed', -1} end
