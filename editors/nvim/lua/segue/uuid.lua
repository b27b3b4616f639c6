--- Identifiers for new events.

local M = {}

--- A new UUID of version 7, in lower-case hexadecimal with hyphens.
---@return string
function M.v7()
  local now = assert(vim.uv.clock_gettime("realtime"))
  local milliseconds = now.sec * 1000 + math.floor(now.nsec / 1e6)
  local bytes = {}
  for index = 6, 1, -1 do
    bytes[index] = milliseconds % 256
    milliseconds = math.floor(milliseconds / 256)
  end
  vim.list_extend(bytes, { assert(vim.uv.random(10)):byte(1, 10) })
  bytes[7] = 0x70 + bytes[7] % 16
  bytes[9] = 0x80 + bytes[9] % 64
  return (("%02x"):rep(16):format(unpack(bytes)):gsub(
    "^(%x%x%x%x%x%x%x%x)(%x%x%x%x)(%x%x%x%x)(%x%x%x%x)",
    "%1-%2-%3-%4-"
  ))
end

return M
