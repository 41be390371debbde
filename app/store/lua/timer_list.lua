-- A page of scheduled messages, the one that is due first before the others. Runs after timers.lua.
--
-- KEYS[3] zset of the ids to list
-- ARGV[1] messages at most
-- ARGV[2] Unix ms, ARGV[3] id: those of the last one of the page before; '' = from the beginning
--
-- Reply: {score and id of the last one, '' = nothing comes after it, id, job, id, job ...}.

local list, from = KEYS[3], 0
if ARGV[2] ~= '' then
  from = redis.call('ZCOUNT', list, '-inf', '(' .. ARGV[2])
  if tonumber(redis.call('ZSCORE', list, ARGV[3]) or -1) == tonumber(ARGV[2]) then
    from = redis.call('ZRANK', list, ARGV[3]) + 1
  end
end
local found = redis.call('ZRANGE', list, from, from + tonumber(ARGV[1]) - 1, 'WITHSCORES')
local page = {'', ''}
if from + #found / 2 < redis.call('ZCARD', list) and #found > 0 then
  page = {text(tonumber(found[#found])), found[#found - 1]}
end
for i = 1, #found, 2 do
  local job = redis.call('HGET', jobs, found[i])
  if job then page[#page + 1] = found[i]; page[#page + 1] = job end
end
return page
