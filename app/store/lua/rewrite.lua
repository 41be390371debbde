-- Rewrite or remove entries of a stream, without changing their ids.
--
-- KEYS[1] stream  e = JSON
-- ARGV    pairs: the id of an entry, and its new `e`; '' = remove the entry

local texts = {}
for i = 1, #ARGV, 2 do texts[ARGV[i]] = ARGV[i + 1] end
local entries = redis.call('XRANGE', KEYS[1], '-', '+')
redis.call('DEL', KEYS[1])
for _, entry in ipairs(entries) do
  local text = texts[entry[1]] or entry[2][2]
  if text ~= '' then redis.call('XADD', KEYS[1], entry[1], 'e', text) end
end
return #entries
