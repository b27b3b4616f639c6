--- Listeners for changes of this Neovim's conversations, see |segue.on()|.

local messages = require("segue.messages")

local M = {}

---@alias segue.EventName "resumed"|"appended"|"reset"|"moved"
---@type table<segue.EventName, function[]>
local listeners = { resumed = {}, appended = {}, reset = {}, moved = {} }

--- Register a listener. Raises an error if there is no event of this name.
---@param name segue.EventName
---@param listener fun(session: segue.Session, detail: any)
---@return fun() off Removes the listener
function M.on(name, listener)
  local list = assert(listeners[name], "segue.on: there is no event " .. tostring(name))
  table.insert(list, listener)
  return function()
    for index, other in ipairs(list) do
      if other == listener then
        return table.remove(list, index)
      end
    end
  end
end

--- Whether anybody listens.
---@param name segue.EventName
---@return boolean
function M.has_listeners(name)
  return #listeners[name] > 0
end

--- Schedule a call of every listener that is registered for this event now.
---@param name segue.EventName
---@param session segue.Session
---@param detail any
function M.emit(name, session, detail)
  for _, listener in ipairs(listeners[name]) do
    vim.schedule(function()
      messages.protect("a listener of " .. name, listener, session, detail)
    end)
  end
end

return M
