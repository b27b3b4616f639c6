--- Faults of ours must not reach the chat.

local config = require("segue.config")

local M = {}

local said = {} ---@type table<string, true>

--- Tell the person something once for each topic.
---@param topic string
---@param message string
function M.say(topic, message)
  if not said[topic] then
    said[topic] = true
    config.notify(message, vim.log.levels.ERROR)
  end
end

--- Let the topic be told again.
---@param topic string
function M.forget(topic)
  said[topic] = nil
end

--- The same function, but its faults are told once and go no further.
---@param callback function
---@return function
function M.guarded(callback)
  return function(...)
    local ok, fault = pcall(callback, ...)
    if not ok then
      M.say("fault", "a chat could not be followed: " .. tostring(fault))
    end
  end
end

return M
