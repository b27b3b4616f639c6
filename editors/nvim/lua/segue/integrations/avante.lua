--- The integration of avante.nvim: stores its conversations while they are had.
---
--- Its events say that something was asked or shown, but not what was answered. It saves each
--- conversation itself, about a second after a change: that file is imported when its events pause.

local config = require("segue.config")
local error_handler = require("segue.integrations.error_handler")
local server = require("segue.server")

local M = {}

-- Longer than avante.nvim takes to save. An answer that is streamed without a pause is imported now
-- and then.
local PAUSE_MS = 2500
local LONGEST_WAIT_MS = 10000

---@type table<string, { first: integer, last: integer }> when something happened, by file
local changed = {}
local timer ---@type uv.uv_timer_t?
local is_running = false

-- `segue watch` imports them, too.
---@return boolean
local function is_wanted()
  local settings = config.get()
  return settings.integrations.avante ~= false and settings.watch ~= true
end

---@return string? path of the conversation in this tab page
local function current_file()
  local sidebar = require("avante").get(false)
  local history = sidebar and sidebar.chat_history
  local bufnr = sidebar and sidebar.code and sidebar.code.bufnr
  if not bufnr or not vim.api.nvim_buf_is_valid(bufnr) then
    return nil
  end
  local files = require("avante.path").history
  local path = history and history.filename and files.get_filepath(bufnr, history.filename)
  return tostring(path or files.get_latest_filepath(bufnr, false))
end

---@return string[] paths that are due
local function take_due()
  local due, now = {}, vim.uv.now()
  for path, times in pairs(changed) do
    if now - times.last >= PAUSE_MS or now - times.first >= LONGEST_WAIT_MS then
      changed[path] = nil
      table.insert(due, path)
    end
  end
  return due
end

---@param paths string[]
---@param on_exit fun(result: vim.SystemCompleted)
local function import(paths, on_exit)
  local options = server.system_options() --[[@as vim.SystemOpts]]
  options.text = true
  local cmd = server.subcommand(vim.list_extend({ "import" }, paths))
  local started = pcall(vim.system, cmd, options, vim.schedule_wrap(on_exit))
  if not started then
    server.start() -- which notifies of a program that is not installed
    on_exit({ code = 0, signal = 0 })
  end
end

local schedule ---@type fun()

local on_timer = error_handler.protect(function()
  local due = take_due()
  if #due == 0 then
    return next(changed) and schedule()
  end
  is_running = true
  import(due, function(result)
    is_running = false
    if result.code ~= 0 then
      local reason = vim.trim(result.stderr or ""):match("[^\n]*$")
      error_handler.notify_once("avante", "avante.nvim's conversation was not stored: " .. reason)
    else
      error_handler.reset("avante")
    end
    if next(changed) then
      schedule()
    end
  end)
end)

function schedule()
  if not timer and not is_running then
    timer = vim.defer_fn(function()
      timer = nil
      on_timer()
    end, PAUSE_MS)
  end
end

--- Store the conversation of avante.nvim in this tab page, soon: something was said in it.
M.on_change = error_handler.protect(function()
  if not is_wanted() then
    return
  end
  local path = current_file()
  if path then
    local now = vim.uv.now()
    changed[path] = { first = changed[path] and changed[path].first or now, last = now }
    schedule()
  end
end)

return M
