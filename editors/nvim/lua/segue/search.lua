--- `:Segue search`: a live search, in the picker of another plugin if there is one.

local config = require("segue.config")
local live_search = require("segue.live_search")

local M = {}

---@class segue.Picker
---@field name string
---@field is_available fun(): boolean
---@field open fun(search: segue.LiveSearch, query: string, on_choice: fun(hit: segue.SearchHit))

-- The first that is available is used. The last one always is.
local MODULES = {
  "segue.pickers.snacks",
  "segue.pickers.telescope",
  "segue.pickers.fzf_lua",
  "segue.pickers.builtin",
}

---@return segue.Picker
local function find_picker()
  local wanted = config.get().search_picker
  for _, module in ipairs(MODULES) do
    local picker = require(module) ---@type segue.Picker
    if wanted == "auto" or wanted == picker.name then
      if picker.is_available() then
        return picker
      elseif wanted == picker.name then
        config.notify(wanted .. " is not installed; see search_picker", vim.log.levels.WARN)
      end
    end
  end
  return require("segue.pickers.builtin")
end

---@class segue.SearchCommand
---@field query string
---@field everywhere boolean All workspaces, and archived sessions, too
---@field mods table of |nvim_cmd()|

--- Open a live search that begins with a query. What is chosen opens as a transcript, at the place
--- that was found.
---@param opts segue.SearchCommand
function M.open(opts)
  local workspaces = require("segue.workspace")
  local workspace = workspaces.of_buffer()
  if not opts.everywhere and not workspace then
    return config.notify(workspaces.UNKNOWN.message, vim.log.levels.ERROR)
  end
  local server = require("segue.server")
  server.start()
  if server.trouble() == "not found" then
    return -- of which the server module has notified
  end
  local search = live_search.new({
    cwd = not opts.everywhere and workspace,
    archived = opts.everywhere,
    title = opts.everywhere and "Search all conversations" or "Search this workspace",
  })
  find_picker().open(search, opts.query, function(hit)
    require("segue.transcript").show_hit(hit, opts.mods)
  end)
end

return M
