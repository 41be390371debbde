-- The first part of every script: what it publishes with, on one server. On a cluster sharded_channels.lua takes its place.

local PUBLISH, NUMSUB = 'PUBLISH', 'NUMSUB'
