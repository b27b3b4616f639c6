--- The records of sessions and events that the Lua API returns, converted from protocol messages.

local M = {}

---@class segue.Session
---@field id string Changes when the conversation continues in another session: read it each time
---@field title? string
---@field directory string
---@field git_root? string
---@field invocation_id string
---@field resumed boolean
---@field reason string Why this session was opened, for people
---@field reason_code string The same for programs; the server's PROTOCOL.md lists them
---@field boundary? { id: string, type: string, data: table } The note for the model that an earlier invocation ends here
---@field events segue.Event[] The newest at the time of opening, oldest first
---@field has_more boolean
---@field last_event_at? string
---@field event_count integer
---@field created_at string
---@field forked_from? string The session that this one is a fork of
---@field source? string The program that it was imported from
---@field agent? string The agent or adapter that answered last
---@field model? string Its model
---@field server_session_id? string What a remote service, or an agent, calls the conversation
---@field repository? string The repository's name, alike on all machines: "github.com/org/repo"
---@field machine? string The machine that it was had on, and where its folders are, if that is another one
---@field shared_by? string The user who shares it to be read, if it is another one's: it goes on in a fork
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
---@field forked_from? string The session that it is a fork of
---@field forked_at? integer The seq of the last event that both have
---@field server_session_id? string
---@field source? string The program that it was imported from
---@field client? string The client that appended last: "Neovim"
---@field agent? string The agent or adapter that answered last
---@field model? string Its model
---@field repository? string The repository's name, alike on all machines: "github.com/org/repo"
---@field machine? string The machine that it was had on, and where its folders are, if that is another one
---@field shared_by? string The user who shares it to be read, if it is another one's: it goes on in a fork

---@class segue.Event
---@field id string
---@field seq integer
---@field parent_id? string
---@field invocation_id string
---@field created_at string
---@field type string
---@field data any JSON null in it is `vim.NIL`
---@field corrupt? boolean

---@class segue.Invocation One opening of a session
---@field id string
---@field client_name? string
---@field client_version? string

---@class segue.SearchHit
---@field session segue.SessionInfo
---@field event? { id: string, seq: integer, type: string, created_at: string } nil: the title has the words
---@field excerpt { text: string, match: boolean }[] A part of the text, on one line

---@param value any
---@return any
local function nil_if_null(value)
  if value ~= vim.NIL then
    return value
  end
end

--- Convert a message of the protocol: its names to snake_case, its nulls to nil.
---@param message table
---@return table
local function convert(message)
  local record = {}
  for name, value in pairs(message) do
    local snake_case = name:gsub("%u", function(letter)
      return "_" .. letter:lower()
    end)
    record[snake_case] = nil_if_null(value)
  end
  return record
end

--- Convert a session of the protocol. A title without text is none.
---@param session table
---@return segue.SessionInfo
function M.session_info(session)
  local record = convert(session)
  record.id, record.session_id = record.session_id, nil
  record.title = record.title ~= "" and record.title or nil
  return record
end

--- Convert an event of the protocol.
---@param event table
---@return segue.Event
function M.event(event)
  return convert(event)
end

--- Convert a page of an export of the protocol.
---@param page table
---@return segue.ExportPage
function M.export_page(page)
  return convert(page)
end

--- Convert a hit of a search of the protocol.
---@param hit table
---@return segue.SearchHit
function M.search_hit(hit)
  local event = nil_if_null(hit.event)
  return {
    session = M.session_info(hit.session),
    event = event and convert(event),
    excerpt = hit.excerpt,
  }
end

--- Convert an invocation of the protocol.
---@param invocation table
---@return segue.Invocation
function M.invocation(invocation)
  return convert(invocation)
end

--- Update a session's record in place, because other code may hold it. The fields that describe how it
--- was opened change only if it is another session now or the result has events; those with its events
--- only if the record is empty or the result has events.
---@param record segue.Session|{} empty before the session is opened for the first time
---@param session segue.SessionInfo
---@param result table of `session/open`
function M.update(record, session, result)
  if record.id ~= session.id or result.events[1] then
    record.resumed = result.resumed
    record.reason, record.reason_code = result.reason, result.reasonCode
  end
  if not record.id or result.events[1] then
    record.boundary = nil_if_null(result.boundary)
    record.events = vim.tbl_map(M.event, result.events)
    record.has_more = result.hasMore
    record.last_event_at = nil_if_null(result.lastEventAt)
    record.alternatives = vim.tbl_map(M.session_info, result.alternatives)
  end
  record.id, record.title = session.id, session.title
  record.directory, record.git_root = session.directory, session.git_root
  record.repository, record.machine = session.repository, session.machine
  record.shared_by = session.shared_by
  record.event_count, record.created_at = session.event_count, session.created_at
  record.forked_from = session.forked_from
  record.server_session_id = session.server_session_id
  record.source, record.agent, record.model = session.source, session.agent, session.model
  record.invocation_id = result.invocationId
end

return M
