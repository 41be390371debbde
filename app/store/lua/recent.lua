-- Add messages to the list of recent messages. One call adds many, because each command and its reply cost the worker
-- about as much as everything else that it does for this list.
--
-- KEYS[1] stream  e = JSON
-- ARGV[1] number of messages to keep, at least
-- ARGV[2] ... the messages as JSON, oldest first
--
-- Reply: the number of messages.

for i = 2, #ARGV do redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', 'e', ARGV[i]) end
return #ARGV - 1
