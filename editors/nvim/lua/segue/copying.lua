--- A copy of the beginning of a session, for a window that parts ways with another one.

local server = require("segue.server")
local text = require("segue.text")

local M = {}

local PAGE = 1000

---@param session_id string
---@param last_seq integer
---@param callback fun(err?: segue.Error, events?: table[])
local function read(session_id, last_seq, callback)
  local events = {}
  local function read_after(after)
    local limit = math.min(last_seq - after, PAGE)
    if limit < 1 then
      return callback(nil, events)
    end
    local params = { sessionId = session_id, after = after, limit = limit }
    server.request("session/events", params, function(err, page)
      if err and err.kind ~= "SessionNotFound" then
        return callback(err)
      elseif err or #page.events == 0 then
        return callback(nil, events)
      end
      vim.list_extend(events, page.events)
      read_after(events[#events].seq)
    end)
  end
  read_after(0)
end

---@param type string
---@param data table
---@return segue.Unsent
local function unsent(type, data)
  local copy, size = text.copy(data)
  return { event = { id = text.event_id(), type = type, data = copy }, size = size }
end

---@param event table as the wire has it
---@return segue.Unsent
local function copy_of(event)
  if event.corrupt or type(event.data) ~= "table" then
    return unsent("corrupt_event", { type = event.type, text = tostring(event.data) })
  end
  return unsent(event.type, event.data)
end

--- The events of a session up to a place as new ones, and a last one that says so. If the session
--- is gone, those that could still be read.
---@param session_id string
---@param last_seq integer
---@param callback fun(err?: segue.Error, copies?: segue.Unsent[])
function M.copies(session_id, last_seq, callback)
  read(session_id, last_seq, function(err, events)
    if err then
      return callback(err)
    end
    local copies = vim.tbl_map(copy_of, events)
    local note = {
      content = "[Note: another window of the editor went on with this conversation at this point. "
        .. "What comes before is a copy; what follows was said in this window only.]",
      copied_from = session_id,
    }
    table.insert(copies, unsent("system_context", note))
    callback(nil, copies)
  end)
end

return M
