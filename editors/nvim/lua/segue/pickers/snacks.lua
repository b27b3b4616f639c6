--- The live search in the picker of snacks.nvim.

local preview = require("segue.preview")
local search_rows = require("segue.search_rows")

local M = { name = "snacks" }

---@return boolean
function M.is_available()
  return pcall(require, "snacks.picker") and pcall(require, "snacks")
end

---@param search segue.LiveSearch
---@return table[]
local function to_items(search)
  return vim.tbl_map(function(row)
    local chunks = search_rows.line(row)
    return { text = search_rows.flatten(chunks), chunks = chunks, row = row }
  end, search:rows())
end

-- What a finder returns runs in a luv callback, where little of Neovim may be called: all else is
-- done before and in the response.
---@param search segue.LiveSearch
---@param context table
---@return fun(add: fun(item: table))
local function find(search, context)
  local items, task
  search:set_query(context.filter.search, function(is_current)
    items = is_current and to_items(search) or {}
    if task then
      task:resume()
    end
  end)
  return function(add)
    task = context.async
    while not items do
      task:suspend()
    end
    vim.iter(items):each(add)
  end
end

---@param search segue.LiveSearch
---@param query string
---@param on_choice fun(hit: segue.SearchHit)
function M.open(search, query, on_choice)
  require("snacks").picker.pick({
    source = "segue",
    title = search.title,
    live = true,
    supports_live = true,
    search = query,
    sort = { fields = { "idx" } },
    finder = function(_, context)
      return find(search, context)
    end,
    format = function(item)
      return item.chunks
    end,
    preview = function(context)
      context.preview:reset()
      preview.show(context.win, context.buf, context.item.row.hit)
    end,
    confirm = function(picker, item)
      local row = item and item.row or {}
      if row.hit then
        picker:close()
        vim.schedule(function()
          on_choice(row.hit)
        end)
      elseif row.loads_more then
        search:load_more(function(is_current)
          if is_current then
            picker.list:set_target()
            picker:find({ refresh = true })
          end
        end)
      end
    end,
    on_close = function()
      search:close()
    end,
  })
end

return M
