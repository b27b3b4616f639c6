--- Messages of one line that never make Neovim wait for ENTER, and the last ones in full.

local text = require("segue.text")

local M = {}

local MAX_KEPT = 20
local RETRY_MS = 200
local HIGHLIGHTS =
  { [vim.log.levels.ERROR] = "ErrorMsg", [vim.log.levels.WARN] = "WarningMsg" }
local HINT = " (:checkhealth segue)"

---@class segue.Message
---@field time integer Seconds since 1970
---@field level integer
---@field text string

local kept = {} ---@type segue.Message[]

-- A replacement, such as those of noice and nvim-notify, has room for all of a message.
---@return boolean
local function is_replaced()
  return debug.getinfo(vim.notify, "S").source:find("^@vim/") == nil
end

---@param line string
---@return string
local function fitted(line)
  local cells = vim.v.echospace
  if vim.fn.strdisplaywidth(line) <= cells then
    return line
  end
  local hint = cells > 2 * #HINT and HINT or ""
  return text.truncate(line, cells - #hint) .. hint
end

---@param line string
---@param level integer
local function show(line, level)
  if is_replaced() then
    return vim.notify(line, level, { title = "segue" })
  end
  -- On the command line, and while Neovim waits for ENTER, a message would scroll the screen.
  if vim.api.nvim_get_mode().mode:find("^[cr]") then
    return vim.defer_fn(function()
      show(line, level)
    end, RETRY_MS)
  end
  -- Two messages in one cycle of the event loop would take two lines.
  pcall(vim.cmd.redraw)
  -- Not as an error: with 'cmdheight' 0, even a short one waits for ENTER.
  vim.api.nvim_echo({ { fitted(line), HIGHLIGHTS[level] } }, true, {})
end

--- Show a message: all of it where |vim.notify()| is replaced, else what fits on the last line of
--- the screen. Not in the log, which holds nothing of conversations. Only on the main loop.
---@param message string
---@param level integer One of |vim.log.levels|
function M.show(message, level)
  local line = "segue: " .. text.one_line(message)
  table.insert(kept, { time = os.time(), level = level, text = line })
  if #kept > MAX_KEPT then
    table.remove(kept, 1)
  end
  show(line, level)
end

--- Call a function of another plugin. Its error is shown on one line, and is not raised.
---@param what string
---@param callback function
function M.protect(what, callback, ...)
  local ok, err = xpcall(callback, debug.traceback, ...)
  if not ok then
    M.show(("%s raised an error: %s"):format(what, err), vim.log.levels.ERROR)
  end
end

--- The last messages, oldest first, each in full.
---@return segue.Message[]
function M.kept()
  return kept
end

return M
