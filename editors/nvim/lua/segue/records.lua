--- Sessions and events as other code sees them, and how they are made from what the wire has.

local M = {}

---@class segue.Session
---@field id string Changes when the conversation has to go on as a new session: read it each time
---@field title? string
---@field directory string
---@field git_root? string
---@field invocation_id string
---@field resumed boolean
---@field reason string Why it is this one, for people
---@field boundary? { id: string, type: string, data: table } What tells the model that an earlier invocation ends
---@field events segue.Event[] The newest at the time of opening, oldest first
---@field has_more boolean
---@field last_event_at? string
---@field event_count integer
---@field alternatives segue.SessionInfo[]

---@class segue.SessionInfo
---@field id string
---@field title? string
---@field directory string
---@field git_root? string
---@field head? string
---@field event_count integer
---@field created_at string
---@field updated_at string
---@field archived_at? string
---@field forked_from? string
---@field server_session_id? string

---@class segue.Event
---@field id string
---@field seq integer
---@field parent_id? string
---@field invocation_id string
---@field created_at string
---@field type string
---@field data any JSON null in it is `vim.NIL`
---@field corrupt? boolean

---@param value any
---@return any
local function given(value)
  if value ~= vim.NIL then
    return value
  end
end

---@param session table as the wire has it
---@return segue.SessionInfo
function M.session_info(session)
  return {
    id = session.sessionId,
    title = given(session.title),
    directory = session.directory,
    git_root = given(session.gitRoot),
    head = given(session.head),
    event_count = session.eventCount,
    created_at = session.createdAt,
    updated_at = session.updatedAt,
    archived_at = given(session.archivedAt),
    forked_from = given(session.forkedFrom),
    server_session_id = given(session.serverSessionId),
  }
end

---@param event table as the wire has it
---@return segue.Event
function M.event(event)
  return {
    id = event.id,
    seq = event.seq,
    parent_id = given(event.parentId),
    invocation_id = event.invocationId,
    created_at = event.createdAt,
    type = event.type,
    data = event.data,
    corrupt = event.corrupt,
  }
end

--- Bring a record, which other code may hold, up to a session that was opened. An opening that is
--- not the first and brings no events leaves what the first one said of them.
---@param record segue.Session|{} empty before the first opening
---@param session segue.SessionInfo
---@param result table what `session/open` answered
function M.update(record, session, result)
  if not record.id or result.events[1] then
    record.resumed, record.reason = result.resumed, result.reason
    record.boundary = given(result.boundary)
    record.events = vim.tbl_map(M.event, result.events)
    record.has_more = result.hasMore
    record.last_event_at = given(result.lastEventAt)
    record.alternatives = vim.tbl_map(M.session_info, result.alternatives)
  end
  record.id, record.title = session.id, session.title
  record.directory, record.git_root = session.directory, session.git_root
  record.event_count = session.event_count
  record.invocation_id = result.invocationId
end

return M
