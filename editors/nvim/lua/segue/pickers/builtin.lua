--- The live search in floating windows of this plugin: a line to type in, the results, and where
--- there is room, the conversation.

local preview = require("segue.preview")
local search_rows = require("segue.search_rows")
local text = require("segue.text")

local M = { name = "builtin" }

local COLUMNS_FOR_PREVIEW = 110
local MAX_COLUMNS = 180

local namespace = vim.api.nvim_create_namespace("segue_search")

vim.api.nvim_set_hl(0, "SegueSelected", { link = "PmenuSel", default = true })

---@class segue.SearchWindow
---@field search segue.LiveSearch
---@field on_choice fun(hit: segue.SearchHit)
---@field input segue.Float
---@field list segue.Float
---@field preview? segue.Float
---@field rows segue.SearchRow[]
---@field lines integer[] Of the first line of each row, from 0
---@field selected integer Of the row that `<CR>` chooses
---@field marks integer[] extmarks of the row that is selected
---@field came_from integer window
---@field group integer of autocommands
---@field is_closed boolean
local SearchWindow = {}
SearchWindow.__index = SearchWindow

---@class segue.Float
---@field buffer integer
---@field window integer

---@return boolean
function M.is_available()
  return true
end

---@alias segue.Layout table<"input"|"list"|"preview", vim.api.keyset.win_config>

---@return segue.Layout places of the windows; without `preview` on a narrow screen
local function new_layout()
  local border = vim.o.winborder ~= "" and vim.o.winborder or "rounded"
  local width = math.min(vim.o.columns - 2, MAX_COLUMNS)
  local height = math.max(8, math.floor((vim.o.lines - vim.o.cmdheight) * 0.8))
  local column = math.floor((vim.o.columns - width) / 2)
  local row = math.max(0, math.floor((vim.o.lines - vim.o.cmdheight - height) / 2))
  local has_preview = vim.o.columns >= COLUMNS_FOR_PREVIEW
  local list_width = has_preview and math.floor(width / 2) or width

  ---@param top integer
  ---@param left integer
  ---@param lines integer With the border
  ---@param cells integer With the border
  ---@return vim.api.keyset.win_config
  local function at(top, left, lines, cells)
    return {
      relative = "editor",
      style = "minimal",
      border = border,
      row = row + top,
      col = column + left,
      height = math.max(1, lines - 2),
      width = math.max(1, cells - 2),
    }
  end

  return {
    input = at(0, 0, 3, list_width),
    list = at(3, 0, height - 3, list_width),
    preview = has_preview and at(0, list_width, height, width - list_width) or nil,
  }
end

---@param place vim.api.keyset.win_config
---@param is_entered boolean
---@return segue.Float
local function open_float(place, is_entered)
  local buffer = vim.api.nvim_create_buf(false, true)
  vim.bo[buffer].bufhidden = "wipe"
  local window = vim.api.nvim_open_win(buffer, is_entered, place)
  vim.wo[window][0].winhighlight = "Normal:NormalFloat"
  return { buffer = buffer, window = window }
end

---@param search segue.LiveSearch
---@param on_choice fun(hit: segue.SearchHit)
---@return segue.SearchWindow
local function new_search_window(search, on_choice)
  local self = setmetatable({
    search = search,
    on_choice = on_choice,
    rows = {},
    lines = {},
    selected = 1,
    marks = {},
    came_from = vim.api.nvim_get_current_win(),
    group = vim.api.nvim_create_augroup("segue_search", { clear = true }),
    is_closed = false,
  }, SearchWindow)
  local places = new_layout()
  self.list = open_float(places.list, false)
  self.preview = places.preview and open_float(places.preview, false)
  places.input.title = (" %s "):format(search.title)
  self.input = open_float(places.input, true)
  vim.wo[self.list.window][0].wrap = false
  vim.bo[self.input.buffer].buftype = "prompt" -- plugins that complete words leave it alone
  vim.fn.prompt_setprompt(self.input.buffer, "")
  return self
end

---@return string
function SearchWindow:query()
  local lines = vim.api.nvim_buf_get_lines(self.input.buffer, 0, -1, false)
  return table.concat(lines, " ")
end

function SearchWindow:close()
  if self.is_closed then
    return
  end
  self.is_closed = true
  self.search:close()
  vim.api.nvim_del_augroup_by_id(self.group)
  local was_inside = vim.api.nvim_get_current_win() == self.input.window
  if was_inside then
    vim.cmd.stopinsert()
  end
  for _, float in ipairs({ self.input, self.list, self.preview }) do
    if vim.api.nvim_win_is_valid(float.window) then
      vim.api.nvim_win_close(float.window, true)
    end
  end
  if was_inside and vim.api.nvim_win_is_valid(self.came_from) then
    vim.api.nvim_set_current_win(self.came_from)
  end
end

---@param row segue.SearchRow
---@param cells integer
---@return segue.Chunk[][] lines
local function to_lines(row, cells)
  if not row.hit then
    local key = row.loads_more and ": <CR>" or ""
    return vim.tbl_map(function(line)
      return { { "  " .. line, "SegueDetail" } }
    end, text.wrap(row.text .. key, cells - 3))
  end
  local heading = vim.list_extend({ { "  " } }, search_rows.heading(row.hit, cells - 3))
  local found = vim.list_extend({ { "    " } }, search_rows.found(row.hit, cells - 5))
  return { heading, found }
end

---@return string
function SearchWindow:footer()
  local summary = self.search:summary()
  return summary ~= "" and (" %s "):format(summary) or ""
end

function SearchWindow:show_rows()
  self.rows, self.lines = self.search:rows(), {}
  local buffer = self.list.buffer
  local cells = vim.api.nvim_win_get_width(self.list.window)
  local lines, highlights = {}, {}
  for index, row in ipairs(self.rows) do
    self.lines[index] = #lines
    for _, chunks in ipairs(to_lines(row, cells)) do
      local line, found = search_rows.flatten(chunks)
      table.insert(lines, line)
      table.insert(highlights, found)
    end
  end
  self.lines[#self.rows + 1] = #lines
  vim.api.nvim_buf_set_lines(buffer, 0, -1, false, lines)
  vim.api.nvim_win_set_config(self.list.window, { footer = self:footer(), footer_pos = "right" })
  for index, found in ipairs(highlights) do
    for _, each in ipairs(found) do
      vim.api.nvim_buf_set_extmark(buffer, namespace, index - 1, each.from, {
        end_col = each.to,
        hl_group = each.group,
      })
    end
  end
end

--- Select a row, the first below the last one, and show its conversation.
---@param index integer
function SearchWindow:select(index)
  local buffer, window = self.list.buffer, self.list.window
  self.selected = (index - 1) % math.max(1, #self.rows) + 1
  local row = self.rows[self.selected]
  local first, after = self.lines[self.selected], self.lines[self.selected + 1]
  for _, mark in ipairs(self.marks) do
    vim.api.nvim_buf_del_extmark(buffer, namespace, mark)
  end
  self.marks = {}
  if row.hit or row.loads_more then
    for line = first, after - 1 do
      local options = { line_hl_group = "SegueSelected" }
      table.insert(self.marks, vim.api.nvim_buf_set_extmark(buffer, namespace, line, 0, options))
    end
  end
  -- Both lines of a row are made visible.
  vim.api.nvim_win_set_cursor(window, { after, 0 })
  vim.api.nvim_win_set_cursor(window, { first + 1, 0 })
  self:show_preview(row)
end

---@param row segue.SearchRow
function SearchWindow:show_preview(row)
  if self.preview then
    preview.show(self.preview.window, self.preview.buffer, row.hit)
  end
end

--- Search for what was typed.
function SearchWindow:update()
  self.search:set_query(self:query(), function(is_current)
    if is_current and not self.is_closed then
      self:show_rows()
      self:select(1)
    end
  end)
end

function SearchWindow:choose()
  local row = self.rows[self.selected]
  if row and row.hit then
    self:close()
    -- Insert mode ends with this key.
    vim.schedule(function()
      self.on_choice(row.hit)
    end)
  elseif row and row.loads_more then
    local selected = self.selected
    self.search:load_more(function(is_current)
      if is_current and not self.is_closed then
        self:show_rows()
        self:select(selected)
      end
    end)
  end
end

function SearchWindow:resize()
  local places = new_layout()
  vim.api.nvim_win_set_config(self.input.window, places.input)
  vim.api.nvim_win_set_config(self.list.window, places.list)
  if self.preview and places.preview then
    vim.api.nvim_win_set_config(self.preview.window, places.preview)
  elseif self.preview then
    vim.api.nvim_win_close(self.preview.window, true)
    self.preview = nil
  elseif places.preview then
    self.preview = open_float(places.preview, false)
  end
  local selected = self.selected
  self:show_rows()
  self:select(selected)
end

---@param steps integer
---@return fun() move
function SearchWindow:mover(steps)
  return function()
    self:select(self.selected + steps)
  end
end

function SearchWindow:map_keys()
  local function map(keys, action)
    for _, key in ipairs(keys) do
      vim.keymap.set({ "i", "n" }, key, action, { buffer = self.input.buffer, nowait = true })
    end
  end
  map({ "<CR>" }, function()
    self:choose()
  end)
  map({ "<Esc>", "<C-c>" }, function()
    self:close()
  end)
  map({ "<C-n>", "<Down>" }, self:mover(1))
  map({ "<C-p>", "<Up>" }, self:mover(-1))
end

function SearchWindow:follow_events()
  local function on(events, pattern, callback)
    vim.api.nvim_create_autocmd(events, vim.tbl_extend("error", pattern, {
      group = self.group,
      callback = callback,
    }))
  end
  on({ "TextChanged", "TextChangedI" }, { buffer = self.input.buffer }, function()
    vim.bo[self.input.buffer].modified = false
    self:update()
  end)
  on("WinLeave", { buffer = self.input.buffer }, function()
    vim.schedule(function()
      self:close()
    end)
  end)
  on("VimResized", {}, function()
    self:resize()
  end)
end

---@param search segue.LiveSearch
---@param query string
---@param on_choice fun(hit: segue.SearchHit)
function M.open(search, query, on_choice)
  local self = new_search_window(search, on_choice)
  vim.api.nvim_buf_set_lines(self.input.buffer, 0, -1, false, { query })
  vim.bo[self.input.buffer].modified = false
  self:map_keys()
  self:follow_events()
  vim.cmd("startinsert!")
  self:show_rows()
  self:select(1)
  self:update()
end

return M
