--- What a search has found, as text with highlights.

local format = require("segue.format")
local rendering = require("segue.rendering")
local text = require("segue.text")

local M = {}

local MIN_TITLE_CELLS = 10
local SHORT_TITLE_CELLS = 20
local SHORT_EXCERPT_CELLS = 38

vim.api.nvim_set_hl(0, "SegueTitle", { link = "Title", default = true })
vim.api.nvim_set_hl(0, "SegueDetail", { link = "Comment", default = true })

---@alias segue.Chunk [string, string?] Text, and its highlight group

---@param hit segue.SearchHit
---@return string
local function age(hit)
  return format.age(hit.event and hit.event.created_at or hit.session.updated_at)
end

---@param parts (string|false|nil)[]
---@param count integer
---@return string
local function join(parts, count)
  local shown = {}
  for index = 1, count do
    table.insert(shown, parts[index] or nil)
  end
  return table.concat(shown, " · ")
end

---@param hit segue.SearchHit
---@param who? string
---@return string
local function details(hit, who)
  return " · " .. join({ age(hit), who, hit.session.archived_at and "archived" }, 3)
end

--- The conversation of a hit: its title, its age, and who answers.
---@param hit segue.SearchHit
---@param cells integer
---@return segue.Chunk[]
function M.heading(hit, cells)
  local detail = details(hit, format.origin(hit.session))
  local title_cells = math.max(MIN_TITLE_CELLS, cells - vim.fn.strdisplaywidth(detail))
  local title = text.truncate(format.title(hit.session), title_cells)
  return { { title, "SegueTitle" }, { detail, "SegueDetail" } }
end

-- So much of what comes before the first match that the match is visible.
---@param before string
---@param match string
---@param cells integer
---@return string
local function cut_before(before, match, cells)
  local left = cells - vim.fn.strdisplaywidth(match)
  if vim.fn.strdisplaywidth(before) <= left then
    return before
  end
  return text.truncate_start(before, math.max(1, math.min(left, math.floor(cells / 3))))
end

---@param hit segue.SearchHit
---@param cells integer
---@return segue.Chunk[]
local function excerpt(hit, cells)
  local chunks = {}
  for index, piece in ipairs(hit.excerpt) do
    local content = text.inline(piece.text)
    local match = hit.excerpt[index + 1]
    if index == 1 and not piece.match and match then
      content = cut_before(content, text.inline(match.text), cells)
    end
    content = text.truncate(content, cells)
    cells = cells - vim.fn.strdisplaywidth(content)
    table.insert(chunks, { content, piece.match and "SegueMatch" or nil })
    if cells <= 1 then
      break
    end
  end
  return chunks
end

--- What was found, and who said it.
---@param hit segue.SearchHit
---@param cells integer
---@return segue.Chunk[]
function M.found(hit, cells)
  local type = hit.event and hit.event.type
  local who = (type and (rendering.HEADINGS[type] or text.one_line(type)) or "Title") .. ": "
  local chunks = { { who, "SegueDetail" } }
  return vim.list_extend(chunks, excerpt(hit, cells - vim.fn.strdisplaywidth(who)))
end

--- A row on one line, for the lists of other pickers, which cut what is too long.
---@param row segue.SearchRow
---@return segue.Chunk[]
function M.line(row)
  local hit = row.hit
  if not hit then
    return { { row.text, "SegueDetail" } }
  end
  local title = text.truncate(format.title(hit.session), SHORT_TITLE_CELLS)
  local chunks = { { title, "SegueTitle" }, { "  " } }
  vim.list_extend(chunks, excerpt(hit, SHORT_EXCERPT_CELLS))
  table.insert(chunks, { details(hit, format.program(hit.session)), "SegueDetail" })
  return chunks
end

--- Chunks as a string, and where in it (in bytes) which highlight is.
---@param chunks segue.Chunk[]
---@return string, { from: integer, to: integer, group: string }[]
function M.flatten(chunks)
  local parts, highlights, length = {}, {}, 0
  for _, chunk in ipairs(chunks) do
    table.insert(parts, chunk[1])
    if chunk[2] then
      table.insert(highlights, { from = length, to = length + #chunk[1], group = chunk[2] })
    end
    length = length + #chunk[1]
  end
  return table.concat(parts), highlights
end

return M
