-- Schedule a message. Runs after timers.lua.
--
-- KEYS[3] of       zset of what this publisher scheduled
-- KEYS[4] done     string: what became of this id
-- KEYS[5] channel
-- ARGV[1] id
-- ARGV[2] ms, ARGV[3] '1' = from now
-- ARGV[4] digest
-- ARGV[5] call, which differs between two requests and is the same where one command is sent again
-- ARGV[6] most ms ahead
-- ARGV[7] most messages of a publisher
-- ARGV[8] the rest of the job
--
-- Reply: {what, due, state}: 'scheduled', 'duplicate', 'reused' (the id, with other content), 'now' (it is due already, and
-- nothing is kept), 'far' (its due time is too far ahead), 'many' (the publisher has too many).
--
-- Its first write takes room and changes nothing, so that a store without room refuses it whole, see room.lua.

redis.call('SETRANGE', KEYS[4], 0, '')
local known = redis.call('HGET', jobs, ARGV[1]) or redis.call('GET', KEYS[4])
if known and known ~= '' then
  local state, at, digest, call = parts(known)
  if digest ~= ARGV[4] then return {'reused', at, state} end
  return {call == ARGV[5] and 'scheduled' or 'duplicate', at, state}
end
local at = moment(ARGV[2], ARGV[3])
if at <= now then return {'now', text(at), ''} end
if at - now > tonumber(ARGV[6]) then return {'far', text(at), ''} end
if redis.call('ZCARD', KEYS[3]) >= tonumber(ARGV[7]) then return {'many', text(at), ''} end
redis.call('HSET', jobs, ARGV[1], job_of('scheduled', text(at), ARGV[4], ARGV[5], '\n' .. ARGV[8]))
redis.call('ZADD', KEYS[3], text(at), ARGV[1])
set_due(ARGV[1], at, KEYS[5])
return {'scheduled', text(at), 'scheduled'}
