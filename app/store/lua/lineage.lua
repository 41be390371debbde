-- Decides which history a log continues. Runs first in every script that appends to a log or reads one.
--
-- A server that was restarted, or a replica that replaced its primary, may lack the newest acknowledged entries. It
-- gives their offsets to other messages: a reader has read 95 to 100, and then another message gets 95. A cursor must
-- never confuse the two. Redis changes its replication id whenever this can have happened. So a log that was last used
-- under another id gets another epoch, in the same step as its first use. The script asks for the id itself, because a
-- worker's knowledge of its server may be out of date.
--
-- Positions of a former epoch stay valid up to the offset that the log had when the epoch changed: after a restart or a
-- failover that lost nothing, every reader reads on. `lineage_look.lua` counts the failovers that lost something, and
-- each log tells its readers when it is touched next.

local FORMER_EPOCHS = 8 -- after this many restarts, a reader that was away gets a reset

local function text(offset) return string.format('%.0f', offset) end

-- Return the replication id, and the full reply of INFO replication. Both are '' if INFO is forbidden or names no id,
-- as with some managed services. Belfry then notices no change of the server.
local function replication()
  local info = redis.pcall('INFO', 'replication')
  local id = type(info) == 'string' and string.match(info, 'master_replid:(%x+)')
  if not id then return '', '' end
  return string.sub(id, 1, 16), info
end

-- Return the server that acknowledges a change of a log, and its replication offset before the change.
local function acknowledgement(id, info)
  return id .. ' ' .. (string.match(info, 'master_repl_offset:(%d+)') or '')
end

-- Return the id of the primary that this server replaced, and the replication offset up to which it has all data of
-- that primary. Returns '' and 0 if it replaced none. A primary with replicas that restarts from a snapshot reports its
-- former self.
local function predecessor(info)
  local id = string.match(info, 'master_replid2:(%x+)') or ''
  if id == '' or string.match(id, '^0+$') then return '', 0 end
  return string.sub(id, 1, 16), tonumber(string.match(info, 'second_repl_offset:(%d+)') or 0) - 1
end

-- On a cluster, return whether the log may lack the newest acknowledged entries. `replaced` names the servers that a
-- failover replaced, see servers.lua. `former` is the server on which the log was last used. Any other server gave the
-- log away with all its data, because its slot moved to another shard.
local function was_replaced(info, former, replaced)
  return former ~= '' and (string.find(info, 'master_replid2:' .. former, 1, true) or string.find(replaced, former, 1, true)) ~= nil
end

-- Return the valid positions after a change of epoch: the newest position of the epoch that ends, then those that were
-- valid before. The oldest position always stays: a run is read from its start, which is a position in the first epoch.
local function formers(epoch, top, former)
  local kept = {epoch .. '.' .. text(top)}
  for position in string.gmatch(former, '%S+') do
    kept[math.min(#kept + 1, FORMER_EPOCHS)] = position
  end
  return table.concat(kept, ' ')
end
