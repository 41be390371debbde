-- Return a page of scheduled messages, soonest first. Runs after timers.lua.
--
-- KEYS[3] zset of the ids to list
-- ARGV[1] maximum number of messages
-- ARGV[2] Unix ms, ARGV[3] id: of the last message of the previous page; '' = from the beginning
-- ARGV[4] bytes of jobs after which the page ends
--
-- Reply: {score and id of the last message, '' if none follows it, id, job, id, job ...}.

local list, from = KEYS[3], 0
if ARGV[2] ~= '' then
  from = redis.call('ZCOUNT', list, '-inf', '(' .. ARGV[2])
  if tonumber(redis.call('ZSCORE', list, ARGV[3]) or -1) == tonumber(ARGV[2]) then
    from = redis.call('ZRANK', list, ARGV[3]) + 1
  end
end
local found = redis.call('ZRANGE', list, from, from + tonumber(ARGV[1]) - 1, 'WITHSCORES')
local page, seen, size = {'', ''}, 0, 0
while seen < #found and size < tonumber(ARGV[4]) do
  local job = redis.call('HGET', jobs, found[seen + 1])
  seen = seen + 2
  if job then page[#page + 1] = found[seen - 1]; page[#page + 1] = job; size = size + #job end
end
if from + seen / 2 < redis.call('ZCARD', list) and seen > 0 then
  page[1], page[2] = text(tonumber(found[seen])), found[seen - 1]
end
return page
