--- Text from anywhere, such as a title, a path or an error, as it may be shown on one line.

local json = require("segue.json")

local M = {}

-- In UTF-8. Neovim shows those that it does not obey as `<202e>`; isolating them would show more.
local REMOVED = {
  "\226\128[\142\143]", -- U+200E, U+200F: marks of direction
  "\226\128[\170-\174]", -- U+202A to U+202E: embeddings and overrides
  "\226\129[\166-\169]", -- U+2066 to U+2069: isolates
  "\216\156", -- U+061C: Arabic letter mark
  "\194[\128-\159]", -- U+0080 to U+009F: control characters
  "\239\187\191", -- U+FEFF: byte order mark
}

--- The text as a part of a line: as `one_line`, with the white space at its ends.
---@param value any A string, else its `tostring`
---@return string
function M.inline(value)
  local line = json.to_utf8(type(value) == "string" and value or tostring(value))
  line = line:gsub("\226\128[\168\169]", " ") -- U+2028, U+2029: separators of lines and paragraphs
  for _, pattern in ipairs(REMOVED) do
    line = line:gsub(pattern, "")
  end
  return (line:gsub("[%c ]+", " "))
end

--- The text on one line of valid UTF-8: line breaks and control characters become spaces,
--- characters that change the direction of what stands around them are removed. Joiners are kept.
---@param value any A string, else its `tostring`
---@return string
function M.one_line(value)
  return vim.trim(M.inline(value))
end

--- The beginning of a line that takes at most so many cells of the screen, with an ellipsis if
--- something was cut.
---@param line string
---@param cells integer
---@return string
function M.truncate(line, cells)
  if vim.fn.strdisplaywidth(line) <= cells then
    return line
  end
  local low, high = 0, vim.fn.strchars(line)
  while low < high do
    local middle = math.ceil((low + high) / 2)
    if vim.fn.strdisplaywidth(vim.fn.strcharpart(line, 0, middle)) < cells then
      low = middle
    else
      high = middle - 1
    end
  end
  return vim.fn.strcharpart(line, 0, low) .. "…"
end

--- The end of a line that takes at most so many cells of the screen, with an ellipsis if something
--- was cut.
---@param line string
---@param cells integer
---@return string
function M.truncate_start(line, cells)
  local length = vim.fn.strchars(line)
  local low, high = 0, length
  while low < high do
    local middle = math.floor((low + high) / 2)
    local width = vim.fn.strdisplaywidth(vim.fn.strcharpart(line, middle))
    if width + (middle > 0 and 1 or 0) <= cells then
      high = middle
    else
      low = middle + 1
    end
  end
  return low == 0 and line or "…" .. vim.fn.strcharpart(line, low)
end

--- The words of a line on as many lines as they need, of at most so many cells where a word allows.
---@param line string
---@param cells integer
---@return string[]
function M.wrap(line, cells)
  local lines = {}
  for word in line:gmatch("%S+") do
    local last = lines[#lines]
    local longer = last and last .. " " .. word
    if longer and vim.fn.strdisplaywidth(longer) <= cells then
      lines[#lines] = longer
    else
      table.insert(lines, word)
    end
  end
  return lines
end

return M
