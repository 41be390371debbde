-- Mark messages for one user as read, archived or removed, or take marks back, in any number of logs.
-- Runs after open.lua on the user's own log, and shares its keys, arguments and results.
--
-- KEYS[7] marks    hash: log name -> `<history> <base> <size> ` and the bit strings read, archived, removed
-- ARGV[4] which of the three bit strings: 1, 2 or 3
-- ARGV[5] '1' = set the mark, '0' = take it back
-- ARGV[6] record that announces the change
-- ARGV[7] ... per log: name, history, oldest and newest offset, the number of offsets, the offsets; -1 = all of them
--
-- Reply: {changed, revision, {marks, ...}, `acknowledgement`}, with the marks of each log as they are stored now.
-- Announces only a change.
-- The marks are kept as long as the newest entry that they may refer to.

open(1, ARGV[1])
details()
hold()

local kind, on = tonumber(ARGV[4]), ARGV[5] == '1'

local function load(name, log_history, base)
  local stored_history, stored_base, size, bits = string.match(redis.call('HGET', KEYS[7], name) or '', '^(%w+) (%d+) (%d+) (.*)$')
  if stored_history ~= log_history then return base, {'', '', ''} end
  local sets, from = {}, tonumber(stored_base)
  for i = 1, 3 do
    sets[i] = rebased(string.sub(bits, (i - 1) * size + 1, i * size), from, base)
  end
  return math.max(from, base), sets
end

local function dump(log_history, base, sets)
  local size = math.max(#sets[1], #sets[2], #sets[3])
  for i = 1, 3 do sets[i] = sets[i] .. string.rep('\0', size - #sets[i]) end
  return log_history .. ' ' .. text(base) .. ' ' .. size .. ' ' .. table.concat(sets)
end

-- Return the set of all offsets from base to newest. It has no bits beyond, because later messages are unread.
local function whole(base, newest)
  local count = math.max(0, newest - base + 1)
  local rest = count % 8
  return string.rep('\255', math.floor(count / 8)) .. (rest > 0 and string.char(2 ^ rest - 1) or '')
end

local function same(a, b)
  for i = 1, math.max(#a, #b) do
    if (string.byte(a, i) or 0) ~= (string.byte(b, i) or 0) then return false end
  end
  return true
end

local changed, all, at = false, {}, 7
while ARGV[at] do
  local name, log_history, count = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 4])
  local base, sets = load(name, log_history, base_of(tonumber(ARGV[at + 2])))
  local bits = sets[kind]
  if count < 0 then
    local oldest_there, newest = tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
    bits = on and oldest_there <= newest and whole(base, newest) or '' -- a log without entries leaves no marks
  end
  for i = at + 5, at + 4 + count do
    local offset = tonumber(ARGV[i])
    if offset >= base then bits = with(bits, base, offset, on) end
  end
  if not same(bits, sets[kind]) then
    changed, sets[kind] = true, bits
    redis.call('HSET', KEYS[7], name, dump(log_history, base, sets))
    redis.call('EXPIRE', KEYS[7], ARGV[2])
  end
  all[#all + 1] = redis.call('HGET', KEYS[7], name)
  at = at + 5 + math.max(count, 0)
end
if changed then
  if vacant then
    begin(ARGV[1])
    hold()
  end
  announce(ARGV[6])
end
return {changed and 1 or 0, revision, all, acknowledgement(lineage, info)}
