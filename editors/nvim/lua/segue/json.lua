--- JSON values that the server accepts: valid UTF-8, finite numbers, bounded nesting.

local lpeg = vim.lpeg

local M = {}

local MAX_DEPTH = 256
local MAX_PATH_LEVELS = 16

--- The longest JSON of the events of one call, in bytes: a frame may have 64 MiB.
M.MAX_BYTES = 60 * 1024 * 1024

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

---@param value string
---@return string
local function encode_string(value)
  return vim.json.encode(M.to_utf8(value))
end

-- The shortest text that reads as the same number.
---@param value number
---@return string
local function encode_number(value)
  if value ~= value or value == math.huge or value == -math.huge then
    error("NaN and Infinity cannot be stored", 0)
  end
  local encoded
  for _, format in ipairs({ "%.15g", "%.16g", "%.17g" }) do
    encoded = format:format(value)
    if tonumber(encoded) == value then
      break
    end
  end
  return encoded
end

---@class segue.Encoder
---@field parts string[]
---@field path (string|integer)[] Where the value is that is being encoded
---@field open table<table, true> The tables that it is in
---@field depth integer
---@field size integer Bytes
---@field limit integer

---@param encoder segue.Encoder
---@param part string
local function add(encoder, part)
  encoder.size = encoder.size + #part
  if encoder.size > encoder.limit then
    error(("larger than %d MiB"):format(encoder.limit / 1024 / 1024), 0)
  end
  table.insert(encoder.parts, part)
end

local encode_value ---@type fun(encoder: segue.Encoder, value: any)

---@param encoder segue.Encoder
---@param list any[]
local function encode_list(encoder, list)
  add(encoder, "[")
  for index, item in ipairs(list) do
    encoder.path[#encoder.path + 1] = index - 1
    add(encoder, index > 1 and "," or "")
    encode_value(encoder, item)
    encoder.path[#encoder.path] = nil
  end
  add(encoder, "]")
end

---@param encoder segue.Encoder
---@param object table<string, any>
local function encode_object(encoder, object)
  add(encoder, "{")
  local names = {}
  for name, value in pairs(object) do
    if type(name) == "number" then
      error("a table that is neither a list nor has only names cannot be stored", 0)
    elseif type(name) ~= "string" then
      error(("a %s as a key cannot be stored"):format(type(name)), 0)
    end
    local encoded = encode_string(name)
    if names[encoded] then
      error("two names that are the same in UTF-8 cannot be stored", 0)
    end
    encoder.path[#encoder.path + 1] = name
    add(encoder, (next(names) and "," or "") .. encoded .. ":")
    names[encoded] = true
    encode_value(encoder, value)
    encoder.path[#encoder.path] = nil
  end
  add(encoder, "}")
end

local empty_dict_metatable = getmetatable(vim.empty_dict())

---@param encoder segue.Encoder
---@param value table
local function encode_table(encoder, value)
  if encoder.open[value] then
    error("a table that contains itself cannot be stored", 0)
  end
  encoder.open[value] = true
  encoder.depth = encoder.depth + 1
  if encoder.depth > MAX_DEPTH then
    error(("nested deeper than %d levels"):format(MAX_DEPTH), 0)
  elseif next(value) == nil then
    add(encoder, getmetatable(value) == empty_dict_metatable and "{}" or "[]")
  elseif vim.islist(value) then
    encode_list(encoder, value)
  else
    encode_object(encoder, value)
  end
  encoder.depth = encoder.depth - 1
  encoder.open[value] = nil
end

function encode_value(encoder, value)
  local kind = type(value)
  if kind == "string" then
    if #value > encoder.limit - encoder.size then
      error(("larger than %d MiB"):format(encoder.limit / 1024 / 1024), 0)
    end
    add(encoder, encode_string(value))
  elseif kind == "number" then
    add(encoder, encode_number(value))
  elseif kind == "boolean" then
    add(encoder, tostring(value))
  elseif value == vim.NIL then
    add(encoder, "null")
  elseif kind == "table" then
    encode_table(encoder, value)
  else
    error(("a %s cannot be stored"):format(kind), 0)
  end
end

---@param path (string|integer)[]
---@return string such as `.messages[0].content`
local function path_text(path)
  local names = {}
  for index, name in ipairs(path) do
    if index > MAX_PATH_LEVELS then
      table.insert(names, "…")
      break
    end
    table.insert(names, (type(name) == "number" and "[%d]" or ".%s"):format(name))
  end
  return M.to_utf8(table.concat(names))
end

--- Encode a value as JSON that the server accepts. Strings become valid UTF-8; an empty table is a
--- list, unless it is |vim.empty_dict()|. Returns nil and where what is wrong if the value has no
--- JSON, nests too deeply, or takes more bytes than *limit*.
---@param value any
---@param limit? integer (default: 60 MiB)
---@return string? encoded, string? fault such as `.n[0]: a function cannot be stored`
function M.encode(value, limit)
  local encoder =
    { parts = {}, path = {}, open = {}, depth = 0, size = 0, limit = limit or M.MAX_BYTES }
  local ok, fault = pcall(encode_value, encoder, value)
  if ok then
    return table.concat(encoder.parts)
  end
  return nil, ("%s: %s"):format(path_text(encoder.path), fault)
end

return M
