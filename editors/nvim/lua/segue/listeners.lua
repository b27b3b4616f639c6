--- Who wants to know what happens to the sessions.

local M = {}

---@alias segue.EventName "resumed"|"appended"|"reset"|"moved"
---@type table<segue.EventName, function[]>
local listeners = { resumed = {}, appended = {}, reset = {}, moved = {} }

---@param name segue.EventName
---@param listener fun(session: segue.Session, detail: any)
---@return fun() off
function M.on(name, listener)
  local list = assert(listeners[name], "segue.on: there is no event " .. tostring(name))
  table.insert(list, listener)
  return function()
    for place, other in ipairs(list) do
      if other == listener then
        return table.remove(list, place)
      end
    end
  end
end

---@param name segue.EventName
---@param session segue.Session
---@param detail any
function M.tell(name, session, detail)
  for _, listener in ipairs(listeners[name]) do
    vim.schedule(function()
      listener(session, detail)
    end)
  end
end

return M
