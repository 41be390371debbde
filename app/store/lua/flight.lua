-- Note an event of a user, unless the user was forgotten a moment ago: workers write events a little late.
--
-- KEYS[1] events     list    events as JSON, newest first; a short list takes a tenth of the memory of a stream
-- KEYS[2] forgotten  string  exists for a moment after the user was forgotten
-- ARGV[1] events to keep
-- ARGV[2] seconds to keep them
-- ARGV[3] event

if redis.call('EXISTS', KEYS[2]) == 1 then return 0 end
if redis.call('LPUSH', KEYS[1], ARGV[3]) > tonumber(ARGV[1]) then redis.call('LTRIM', KEYS[1], 0, ARGV[1] - 1) end
return redis.call('EXPIRE', KEYS[1], ARGV[2])
