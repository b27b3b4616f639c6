--- JSON values that the server accepts: valid UTF-8, finite numbers, bounded nesting.

local lpeg = vim.lpeg

local M = {}

local MAX_DEPTH = 200

--- U+FFFD, which replaces every byte that is not UTF-8.
M.REPLACEMENT_CHARACTER = "\239\191\189"

local R, P = lpeg.R, lpeg.P
local continuation = R("\128\191")
local utf8 = R("\0\127") ^ 1
  + R("\194\223") * continuation
  + P("\224") * R("\160\191") * continuation
  + (R("\225\236") + R("\238\239")) * continuation * continuation
  + P("\237") * R("\128\159") * continuation
  + P("\240") * R("\144\191") * continuation * continuation
  + R("\241\243") * continuation * continuation * continuation
  + P("\244") * R("\128\143") * continuation * continuation
local only_utf8 = utf8 ^ 0 * -1
local replace_invalid_bytes = lpeg.Cs((utf8 + P(1) / M.REPLACEMENT_CHARACTER) ^ 0)

local hex = R("09", "af", "AF")
local high_surrogate = P("\\u") * lpeg.S("dD") * lpeg.S("89abAB") * hex * hex
local low_surrogate = P("\\u") * lpeg.S("dD") * lpeg.S("cdefCDEF") * hex * hex
local replace_lone_surrogates = lpeg.Cs(
  (
    high_surrogate * low_surrogate
    + (high_surrogate + low_surrogate) / "\\ufffd"
    + P("\\") * 1
    + (1 - P("\\")) ^ 1
  ) ^ 0
)

--- Replace every byte that is not UTF-8 by U+FFFD. The server refuses frames that are not UTF-8.
---@param value string
---@return string
function M.to_utf8(value)
  return only_utf8:match(value) and value or replace_invalid_bytes:match(value)
end

--- Decode JSON. Lone surrogates, which the store keeps and Neovim's decoder refuses, become U+FFFD.
--- Raises an error if *json_text* is not JSON.
---@param json_text string
---@param options? table of |vim.json.decode()|
---@return any
function M.decode(json_text, options)
  options = options or {}
  local ok, value = pcall(vim.json.decode, json_text, options)
  return ok and value or vim.json.decode(replace_lone_surrogates:match(json_text), options)
end

---@param value any
---@param depth integer
---@return any copy, integer size
local function copy_value(value, depth)
  local kind = type(value)
  if kind == "string" then
    local valid = M.to_utf8(value)
    return valid, #valid
  elseif kind == "number" then
    if value ~= value or value == math.huge or value == -math.huge then
      error("NaN and Infinity cannot be stored", 0)
    end
    return value, 8
  elseif kind == "boolean" or value == vim.NIL then
    return value, 4
  elseif kind ~= "table" then
    error(("a %s cannot be stored"):format(kind), 0)
  elseif depth > MAX_DEPTH then
    error(("nested deeper than %d levels"):format(MAX_DEPTH), 0)
  elseif next(value) == nil then
    return setmetatable({}, getmetatable(value)), 2
  end
  local copy, size, is_list = {}, 2, vim.islist(value)
  for key, inner in pairs(value) do
    if not is_list and type(key) ~= "string" and type(key) ~= "number" then
      error(("a %s cannot be a key"):format(type(key)), 0)
    end
    local name = is_list and key or M.to_utf8(tostring(key))
    local inner_size
    copy[name], inner_size = copy_value(inner, depth + 1)
    size = size + inner_size + (is_list and 1 or #name + 4)
  end
  return copy, size
end

--- Copy a value so that it can be sent: strings become valid UTF-8. Returns the copy and its
--- approximate size in bytes, or nil and the reason why the value cannot be stored.
---@param value any
---@return any? copy, integer|string size_or_reason
function M.copy(value)
  local ok, copy, size = pcall(copy_value, value, 1)
  if not ok then
    return nil, copy --[[@as string]]
  end
  return copy, size
end

return M
