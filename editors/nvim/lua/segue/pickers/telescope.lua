--- The live search in the picker of telescope.nvim.

local preview = require("segue.preview")
local search_rows = require("segue.search_rows")

local M = { name = "telescope" }

---@return boolean
function M.is_available()
  return (pcall(require, "telescope.pickers"))
end

---@param row segue.SearchRow
---@param index integer
---@return table
local function to_entry(row, index)
  local line, highlights = search_rows.flatten(search_rows.line(row))
  return {
    value = row,
    ordinal = line,
    index = index,
    display = function()
      return line,
        vim.tbl_map(function(each)
          return { { each.from, each.to }, each.group }
        end, highlights)
    end,
  }
end

---@param search segue.LiveSearch
---@return table
local function new_finder(search)
  return setmetatable({ close = function() end }, {
    __call = function(_, prompt, process_result, process_complete)
      search:set_query(prompt or "", function(is_current)
        if is_current then
          for index, row in ipairs(search:rows()) do
            process_result(to_entry(row, index))
          end
          process_complete()
        end
      end)
    end,
  })
end

-- Keeps the order of the server.
---@return table
local function new_sorter()
  local sorter = require("telescope.sorters").empty()
  -- One query may be completed when the next one has begun: its results would be dropped.
  sorter._finish = function() end
  return sorter
end

---@param search segue.LiveSearch
---@param query string
---@param on_choice fun(hit: segue.SearchHit)
function M.open(search, query, on_choice)
  local actions = require("telescope.actions")
  local state = require("telescope.actions.state")

  local function choose(buffer)
    local entry = state.get_selected_entry()
    local row = entry and entry.value or {}
    if row.hit then
      actions.close(buffer)
      on_choice(row.hit)
    elseif row.loads_more then
      local picker = state.get_current_picker(buffer)
      local selected = picker:get_selection_row()
      search:load_more(function(is_current)
        if is_current and vim.api.nvim_buf_is_valid(buffer) then
          picker:register_completion_callback(function()
            picker:clear_completion_callbacks()
            picker:set_selection(selected)
          end)
          picker:refresh(new_finder(search))
        end
      end)
    end
  end

  require("telescope.pickers")
    .new({}, {
      prompt_title = search.title,
      results_title = false,
      preview_title = "Conversation",
      default_text = query,
      finder = new_finder(search),
      sorter = new_sorter(),
      previewer = require("telescope.previewers").new_buffer_previewer({
        define_preview = function(self, entry)
          preview.show(self.state.winid, self.state.bufnr, entry.value.hit)
        end,
      }),
      attach_mappings = function(buffer)
        actions.select_default:replace(choose)
        vim.api.nvim_create_autocmd("BufWipeout", {
          buffer = buffer,
          once = true,
          callback = function()
            search:close()
          end,
        })
        return true
      end,
    })
    :find()
end

return M
