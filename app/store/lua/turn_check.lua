-- Refuses a question if its conversation has changed since the worker read it. Runs after run_known.lua and before
-- run_admit.lua, so that a refused question does not count against limits.
--
-- KEYS[8] conversation   hash, see `conversations`
-- ARGV[11] revision that the worker read, '' = there was no conversation
--
-- Reply: {'conversation_changed', -1}, or none: the next scripts then continue.

if (redis.call('HGET', KEYS[8], 'revision') or '') ~= ARGV[11] then return {'conversation_changed', -1} end
