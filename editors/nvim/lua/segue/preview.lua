--- The part of a conversation around what a search has found, as pickers show it.

local matches = require("segue.matches")
local rendering = require("segue.rendering")
local search_rows = require("segue.search_rows")

local M = {}

local EVENTS_BEFORE = 5
local EVENTS = 20

---@type table<integer, segue.SearchHit> the hit that was asked for last, by window
local wanted = {}

---@param window integer
---@param buffer integer
---@param hit segue.SearchHit
---@param page segue.EventPage
local function fill(window, buffer, hit, page)
  local lines, messages = rendering.render(page.events, {})
  vim.bo[buffer].modifiable = true
  vim.api.nvim_buf_set_lines(buffer, 0, -1, false, lines)
  if not pcall(vim.treesitter.start, buffer, "markdown") then
    vim.bo[buffer].syntax = "markdown"
  end
  local options = vim.wo[window][0]
  options.wrap, options.linebreak, options.foldenable = true, true, false
  options.number, options.relativenumber, options.signcolumn = false, false, "no"
  local heading_cells = vim.api.nvim_win_get_width(window)
  local bar = search_rows.flatten(search_rows.heading(hit, heading_cells))
  options.winbar = bar:gsub("%%", "%%%%") .. "%<"
  local heading, line = 1, 1
  local message, offset = rendering.find(messages, hit.event and hit.event.seq or 0)
  if message and hit.event then
    local last = offset + message.line_count
    heading = offset + 1
    line = (matches.highlight(buffer, offset, last, matches.words(hit)) or offset) + 1
  end
  vim.api.nvim_win_call(window, function()
    vim.fn.winrestview({ topline = heading, lnum = line, col = 0 })
  end)
end

---@param window integer
---@param buffer integer
---@param lines string[]
local function show_lines(window, buffer, lines)
  vim.bo[buffer].modifiable = true
  vim.api.nvim_buf_set_lines(buffer, 0, -1, false, lines)
  vim.wo[window][0].winbar = ""
end

--- Show the events around a hit in a window and its buffer, unless another one is wanted there
--- before they are here. Without a hit, empty them.
---@param window integer
---@param buffer integer
---@param hit? segue.SearchHit
function M.show(window, buffer, hit)
  wanted[window] = hit
  if not hit then
    return show_lines(window, buffer, {})
  end
  local seq = hit.event and hit.event.seq or 1
  local opts = {
    session_id = hit.session.id,
    after = math.max(0, seq - 1 - EVENTS_BEFORE),
    limit = EVENTS,
  }
  require("segue").events(opts, function(err, page)
    if wanted[window] ~= hit then
      return
    end
    wanted[window] = nil
    local is_shown = vim.api.nvim_win_is_valid(window)
      and vim.api.nvim_win_get_buf(window) == buffer
    if not is_shown then
      return
    elseif err then
      return show_lines(window, buffer, vim.split(err.message, "\n"))
    end
    fill(window, buffer, hit, page)
  end)
end

return M
