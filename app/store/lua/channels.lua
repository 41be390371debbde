-- The first part of every script: the commands for publishing on one server. On a cluster, sharded_channels.lua
-- replaces it.

local PUBLISH, NUMSUB = 'PUBLISH', 'NUMSUB'
