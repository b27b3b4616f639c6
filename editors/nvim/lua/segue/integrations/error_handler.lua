--- Keeps errors of an integration from reaching the chat plugin.

local config = require("segue.config")

local M = {}

local notified = {} ---@type table<string, true> by topic

--- Notify the user of an error, at most once for each topic.
---@param topic string
---@param message string
function M.notify_once(topic, message)
  if not notified[topic] then
    notified[topic] = true
    config.notify(message, vim.log.levels.ERROR)
  end
end

--- Let the next error of this topic be shown again.
---@param topic string
function M.reset(topic)
  notified[topic] = nil
end

--- Wrap a function so that its errors are shown to the user, once, and are not raised. The wrapper
--- returns nothing.
---@param callback function
---@return function
function M.protect(callback)
  return function(...)
    local ok, err = pcall(callback, ...)
    if not ok then
      M.notify_once("internal", "error in the integration of a chat plugin: " .. tostring(err))
    end
  end
end

return M
