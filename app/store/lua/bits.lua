-- Sets of offsets as bit strings: bit (n % 8) of byte floor(n / 8) is the offset base + n; a base is divisible by 8.

local function base_of(offset) return offset - offset % 8 end

-- The same set without what lies before base `to`.
local function rebased(bits, base, to)
  return to > base and string.sub(bits, (to - base) / 8 + 1) or bits
end

-- The set with one offset put in or taken out.
local function with(bits, base, offset, on)
  local at, mask = math.floor((offset - base) / 8) + 1, 2 ^ ((offset - base) % 8)
  if #bits < at then bits = bits .. string.rep('\0', at - #bits) end
  local byte = string.byte(bits, at)
  if (math.floor(byte / mask) % 2 == 1) == on then return bits end
  return string.sub(bits, 1, at - 1) .. string.char(byte + (on and mask or -mask)) .. string.sub(bits, at + 1)
end

-- Whether an offset is in the set.
local function has(bits, base, offset)
  local byte = offset >= base and string.byte(bits, math.floor((offset - base) / 8) + 1)
  return byte and math.floor(byte / 2 ^ ((offset - base) % 8)) % 2 == 1 or false
end
