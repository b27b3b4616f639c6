--- Copies of a session's events, for a window that continues in a new session after a conflict.

local json = require("segue.json")
local server = require("segue.server")

local M = {}

local PAGE = 1000

---@param session_id string
---@param last_seq integer
---@param callback fun(err?: segue.Error, events?: table[])
local function load_events(session_id, last_seq, callback)
  local events = {}
  local function load_after(after)
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
      load_after(events[#events].seq)
    end)
  end
  load_after(0)
end

---@param event table in the protocol's form
---@return segue.NewEvent
local function copy_event(event)
  if event.corrupt or type(event.data) ~= "table" or not json.encode(event.data) then
    local data = { type = event.type, text = tostring(event.data) }
    return { type = "corrupt_event", data = data }
  end
  return { type = event.type, data = event.data }
end

--- Copy the events of a session up to and including *last_seq* under new ids, and add a note that
--- names the session. If the session is deleted meanwhile, only the events read before are copied.
---@param session_id string
---@param last_seq integer
---@param callback fun(err?: segue.Error, copies?: segue.NewEvent[])
function M.create(session_id, last_seq, callback)
  load_events(session_id, last_seq, function(err, events)
    if err then
      return callback(err)
    end
    local copies = vim.tbl_map(copy_event, events)
    local note = {
      content = "[Note: another editor window continued this conversation from this point. "
        .. "Everything above is a copy; everything below was added in this window only.]",
      copied_from = session_id,
    }
    table.insert(copies, { type = "system_context", data = note })
    callback(nil, copies)
  end)
end

return M
