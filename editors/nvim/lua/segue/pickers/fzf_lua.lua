--- The live search in the picker of fzf-lua.

local preview = require("segue.preview")
local search_rows = require("segue.search_rows")

local M = { name = "fzf-lua" }

---@return boolean
function M.is_available()
  return vim.fn.executable("fzf") == 1 and (pcall(require, "fzf-lua"))
end

---@param row segue.SearchRow
---@return string
local function to_line(row)
  local utils = require("fzf-lua.utils")
  local parts = vim.tbl_map(function(chunk)
    return chunk[2] and utils.ansi_from_hl(chunk[2], chunk[1]) or chunk[1]
  end, search_rows.line(row))
  return table.concat(parts)
end

---@param row_of fun(line?: string): segue.SearchRow?
---@return table class of previewers
local function previewer(row_of)
  local class = require("fzf-lua.previewer.builtin").base:extend()
  function class:new(o, opts, fzf_window)
    class.super.new(self, o, opts, fzf_window)
    setmetatable(self, class)
    return self
  end
  function class:populate_preview_buf(line)
    local buffer = self:get_tmp_buffer()
    self:set_preview_buf(buffer)
    local row = row_of(line)
    preview.show(self.win.preview_winid, buffer, row and row.hit)
  end
  return class
end

---@param search segue.LiveSearch
---@param query string
---@param on_choice fun(hit: segue.SearchHit)
---@param position? integer of the cursor in the list, from 1
local function open(search, query, on_choice, position)
  local rows = {} ---@type segue.SearchRow[] by the number that their line begins with
  local count = 0

  local function row_of(line)
    return line and rows[tonumber(line:match("^%d+"))]
  end

  local function choose(selected)
    local row = row_of(selected[1]) or {}
    if row.hit then
      search:close()
      on_choice(row.hit)
    elseif row.loads_more then
      local length = #search:rows()
      search:load_more(function(is_current)
        if is_current then
          open(search, search.query, on_choice, length)
        end
      end)
    end
  end

  require("fzf-lua").fzf_live(function(arguments)
    return function(add)
      search:set_query(arguments[1] or "", function(is_current)
        for _, row in ipairs(is_current and search:rows() or {}) do
          count = count + 1
          rows[count] = row
          add(("%d\t%s"):format(count, to_line(row)))
        end
        add()
      end)
    end
  end, {
    query = query,
    no_resume = true,
    previewer = previewer(row_of),
    winopts = { title = (" %s "):format(search.title) },
    fzf_opts = {
      ["--delimiter"] = "\t",
      ["--with-nth"] = "2..",
      ["--no-multi"] = true,
    },
    keymap = { fzf = position and { load = ("pos(%d)"):format(position) } },
    actions = { enter = choose },
  })
end

---@param search segue.LiveSearch
---@param query string
---@param on_choice fun(hit: segue.SearchHit)
function M.open(search, query, on_choice)
  open(search, query, on_choice)
end

return M
