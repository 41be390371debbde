-- The first part of every script on a Redis Cluster. A sharded channel lies in one slot, beside the log that it
-- announces, so that only the slot's primary has to know its subscribers. See channels.lua.

local PUBLISH, NUMSUB = 'SPUBLISH', 'SHARDNUMSUB'
