--- Text and values on their way to the server, and times in words.

local lpeg = vim.lpeg

local M = {}

local DEEPEST = 200

local REPLACEMENT = "\239\191\189" -- U+FFFD

local R, P = lpeg.R, lpeg.P
local next_byte = R("\128\191")
local utf8 = R("\0\127") ^ 1
  + R("\194\223") * next_byte
  + P("\224") * R("\160\191") * next_byte
  + (R("\225\236") + R("\238\239")) * next_byte * next_byte
  + P("\237") * R("\128\159") * next_byte
  + P("\240") * R("\144\191") * next_byte * next_byte
  + R("\241\243") * next_byte * next_byte * next_byte
  + P("\244") * R("\128\143") * next_byte * next_byte
local all_utf8 = utf8 ^ 0 * -1
local repaired = lpeg.Cs((utf8 + P(1) / REPLACEMENT) ^ 0)

local hex = R("09", "af", "AF")
local high = P("\\u") * lpeg.S("dD") * lpeg.S("89abAB") * hex * hex
local low = P("\\u") * lpeg.S("dD") * lpeg.S("cdefCDEF") * hex * hex
local paired = lpeg.Cs(
  (high * low + (high + low) / "\\ufffd" + P("\\") * 1 + (1 - P("\\")) ^ 1) ^ 0
)

--- The text with every byte that is not UTF-8 replaced by U+FFFD: the server refuses such a frame.
---@param text string
---@return string
function M.clean(text)
  return all_utf8:match(text) and text or repaired:match(text)
end

--- The JSON value of a text. Surrogates without their other half, which the store keeps and
--- Neovim's decoder refuses, are read as U+FFFD.
---@param body string
---@param options? table of |vim.json.decode()|
---@return any
function M.decode(body, options)
  options = options or {}
  local ok, value = pcall(vim.json.decode, body, options)
  return ok and value or vim.json.decode(paired:match(body), options)
end

---@param value any
---@param depth integer
---@return any copy, integer size
local function copied(value, depth)
  local kind = type(value)
  if kind == "string" then
    local text = M.clean(value)
    return text, #text
  elseif kind == "number" then
    if value ~= value or value == math.huge or value == -math.huge then
      error("NaN and Infinity cannot be stored", 0)
    end
    return value, 8
  elseif kind == "boolean" or value == vim.NIL then
    return value, 4
  elseif kind ~= "table" then
    error(("a %s cannot be stored"):format(kind), 0)
  elseif depth > DEEPEST then
    error(("nested deeper than %d levels"):format(DEEPEST), 0)
  elseif next(value) == nil then
    return setmetatable({}, getmetatable(value)), 2
  end
  local copy, size, is_list = {}, 2, vim.islist(value)
  for key, inner in pairs(value) do
    if not is_list and type(key) ~= "string" and type(key) ~= "number" then
      error(("a %s cannot be a key"):format(type(key)), 0)
    end
    local name = is_list and key or M.clean(tostring(key))
    local inner_size
    copy[name], inner_size = copied(inner, depth + 1)
    size = size + inner_size + (is_list and 1 or #name + 4)
  end
  return copy, size
end

--- A copy that can be sent, and about how many bytes it has; or nil and why it cannot.
---@param value any
---@return any? copy, integer|string size_or_fault
function M.copy(value)
  local ok, copy, size = pcall(copied, value, 1)
  if not ok then
    return nil, copy --[[@as string]]
  end
  return copy, size
end

--- A new event id: a UUID of version 7.
---@return string
function M.event_id()
  local now = assert(vim.uv.clock_gettime("realtime"))
  local at = now.sec * 1000 + math.floor(now.nsec / 1e6)
  local random = { assert(vim.uv.random(10)):byte(1, 10) }
  local bytes = {}
  for place = 6, 1, -1 do
    bytes[place] = at % 256
    at = math.floor(at / 256)
  end
  vim.list_extend(bytes, random)
  bytes[7] = 0x70 + bytes[7] % 16
  bytes[9] = 0x80 + bytes[9] % 64
  return (("%02x"):rep(16):format(unpack(bytes)):gsub(
    "^(%x%x%x%x%x%x%x%x)(%x%x%x%x)(%x%x%x%x)(%x%x%x%x)",
    "%1-%2-%3-%4-"
  ))
end

--- Seconds since 1970 of the server's `2026-08-01T12:00:00.000Z`.
---@param iso string
---@return integer
function M.seconds(iso)
  local year, month, day, hour, minute, second =
    iso:match("^(%d+)-(%d+)-(%d+)T(%d+):(%d+):(%d+)")
  local y = tonumber(year) - (tonumber(month) <= 2 and 1 or 0)
  local era = math.floor(y / 400)
  local shifted = (tonumber(month) + 9) % 12
  local day_of_year = math.floor((153 * shifted + 2) / 5) + tonumber(day) - 1
  local year_of_era = y - era * 400
  local day_of_era = year_of_era * 365
    + math.floor(year_of_era / 4)
    - math.floor(year_of_era / 100)
    + day_of_year
  local days = era * 146097 + day_of_era - 719468
  return days * 86400 + tonumber(hour) * 3600 + tonumber(minute) * 60 + tonumber(second)
end

--- How long ago that was: `2 hours ago`.
---@param iso string
---@return string
function M.age(iso)
  local seconds = math.max(0, os.time() - M.seconds(iso))
  for _, unit in ipairs({ { 86400, "day" }, { 3600, "hour" }, { 60, "minute" } }) do
    local count = math.floor(seconds / unit[1])
    if count > 0 then
      return ("%d %s%s ago"):format(count, unit[2], count > 1 and "s" or "")
    end
  end
  return "just now"
end

--- `1 event`, `2 events`.
---@param count integer
---@param noun string
---@return string
function M.count(count, noun)
  return ("%d %s%s"):format(count, noun, count == 1 and "" or "s")
end

--- What a person recognises a session by.
---@param session { title?: string }
---@return string
function M.title(session)
  return session.title or "(no message yet)"
end

return M
