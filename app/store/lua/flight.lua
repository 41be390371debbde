-- Note an event of a user, unless the user was forgotten just now: workers write a little late.
--
-- KEYS[1] events     stream  e = an event as JSON
-- KEYS[2] forgotten  string  is there for a moment after the user was forgotten
-- ARGV[1] events to keep, or a few more
-- ARGV[2] seconds to keep them
-- ARGV[3] event

if redis.call('EXISTS', KEYS[2]) == 1 then return 0 end
redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', 'e', ARGV[3])
return redis.call('EXPIRE', KEYS[1], ARGV[2])
