-- Decides which history a log continues. Runs first in every script that appends to a log or reads one.
--
-- A server that was started again, or a replica that took its primary's place, may lack the end of what was
-- acknowledged, and gives those offsets to other messages: 95 to 100 were read by somebody, and 95 comes again. A cursor
-- must never take the one for the other. Redis changes its replication id whenever that can have happened, so a log
-- that was last used under another id gets another epoch, in the same step as whatever is done with it first. The
-- script asks for the id itself: no worker's belief of where it is connected can be out of date.
--
-- Positions of a former epoch stay valid up to the offset that the log had when the epoch changed: after a restart or a
-- failover that lost nothing, every reader reads on. What a failover lost is counted by `lineage_look.lua`, and each log
-- tells its readers when it is touched next.

local FORMER_EPOCHS = 8 -- whoever was away for that many restarts, or more, is told of a loss

local function text(offset) return string.format('%.0f', offset) end

-- The replication id, and all that Redis says of its replication. '' where INFO is forbidden or names no id, as with some
-- managed services: then nothing is noticed.
local function replication()
  local info = redis.pcall('INFO', 'replication')
  local id = type(info) == 'string' and string.match(info, 'master_replid:(%x+)')
  if not id then return '', '' end
  return string.sub(id, 1, 16), info
end

-- Which server acknowledges a change of a log, and its replication offset before the change.
local function acknowledgement(id, info)
  return id .. ' ' .. (string.match(info, 'master_repl_offset:(%d+)') or '')
end

-- The id of the primary whose place the server took, and the replication offset up to which it has everything from there;
-- '' and 0 where it took no place. A primary of replicas that comes back from a snapshot tells the same of its former self.
local function predecessor(info)
  local id = string.match(info, 'master_replid2:(%x+)') or ''
  if id == '' or string.match(id, '^0+$') then return '', 0 end
  return string.sub(id, 1, 16), tonumber(string.match(info, 'second_repl_offset:(%d+)') or 0) - 1
end

-- On a cluster: whether the log may lack the end of what was acknowledged. `replaced` names the servers that were replaced
-- by a failover, see servers.lua, and `former` is the one on which the log was used last. Any other server gave the log
-- away with all its data: its slot went to another shard.
local function was_replaced(info, former, replaced)
  return former ~= '' and (string.find(info, 'master_replid2:' .. former, 1, true) or string.find(replaced, former, 1, true)) ~= nil
end

-- The valid positions after a change of epoch: the newest of the epoch that ends, then those that were valid before. The
-- oldest of these never makes room: a run is read from its start, which is a position in the first epoch.
local function formers(epoch, top, former)
  local kept = {epoch .. '.' .. text(top)}
  for position in string.gmatch(former, '%S+') do
    kept[math.min(#kept + 1, FORMER_EPOCHS)] = position
  end
  return table.concat(kept, ' ')
end
