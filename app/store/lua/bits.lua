-- Sets of offsets as bit strings. Bit (n % 8) of byte floor(n / 8) stands for the offset base + n. A base is divisible
-- by 8.

local function base_of(offset) return offset - offset % 8 end

-- Return the same set without the offsets before base `to`.
local function rebased(bits, base, to)
  return to > base and string.sub(bits, (to - base) / 8 + 1) or bits
end

-- Return the set with one offset added or removed.
local function with(bits, base, offset, on)
  local at, mask = math.floor((offset - base) / 8) + 1, 2 ^ ((offset - base) % 8)
  if #bits < at then bits = bits .. string.rep('\0', at - #bits) end
  local byte = string.byte(bits, at)
  if (math.floor(byte / mask) % 2 == 1) == on then return bits end
  return string.sub(bits, 1, at - 1) .. string.char(byte + (on and mask or -mask)) .. string.sub(bits, at + 1)
end

-- Return whether an offset is in the set.
local function has(bits, base, offset)
  local byte = offset >= base and string.byte(bits, math.floor((offset - base) / 8) + 1)
  return byte and math.floor(byte / 2 ^ ((offset - base) % 8)) % 2 == 1 or false
end
