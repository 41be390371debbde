-- Schedule a message. Runs after timers.lua.
--
-- KEYS[3] of       zset of the messages that this publisher scheduled
-- KEYS[4] done     string: the outcome of this id
-- KEYS[5] channel
-- ARGV[1] id
-- ARGV[2] time of delivery in ms; ARGV[3] '1' = ms from now, otherwise Unix ms
-- ARGV[4] digest
-- ARGV[5] call: differs between two requests, and is the same if one command is sent again
-- ARGV[6] maximum ms ahead
-- ARGV[7] maximum number of messages of a publisher
-- ARGV[8] the rest of the job
--
-- Reply: {what, due, state}. `what` is 'scheduled', 'duplicate', 'reused' (the id is known with other content), 'now'
-- (the message is due already, and nothing is kept), 'far' (its due time is too far ahead) or 'many' (the publisher has
-- too many).
--
-- The first write needs memory and changes nothing. So a full store refuses the whole script, see room.lua.

redis.call('SETRANGE', KEYS[4], 0, '')
local job = redis.call('HGET', jobs, ARGV[1])
local known = job or redis.call('GET', KEYS[4])
if known and known ~= '' then
  -- A repetition writes too, because WAIT counts from the last write of a connection.
  if job then redis.call('HSET', jobs, ARGV[1], job) else redis.call('SET', KEYS[4], known, 'KEEPTTL') end
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
