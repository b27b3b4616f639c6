--- Segue stores AI conversations and resumes them in any editor. This is the public API,
--- |segue-api|.
---
--- Every function returns at once. Callbacks run later, on the main loop, with an error or a
--- result.

local M = {}

---@class segue.OpenOptions
---@field workspace? string A directory (default: that of the buffer, |segue-workspace|)
---@field session_id? string Open this session, whatever its age
---@field mode? "auto"|"new"|"resume" What to do without a `session_id` (default: "auto")
---@field tail? integer How many of the newest events to return (default: 200, at most 1000)

---@class segue.NewEvent
---@field type string
---@field data table
---@field id? string Unique in its session (default: a new UUID)

---@class segue.AppendOptions
---@field session_id? string (default: the current session of the buffer's workspace, which is opened as by `open()` if there is none)
---@field agent? string Who answers: the agent or adapter
---@field model? string Its model

---@class segue.AppendResult
---@field session_id string
---@field events { id: string, seq: integer }[]

---@class segue.EventsOptions
---@field session_id? string (default: the current session)
---@field before? integer The last events before this `seq`
---@field after? integer The first events after this `seq`
---@field limit? integer (default: 200, at most 1000)

---@class segue.EventPage
---@field events segue.Event[]
---@field has_more boolean
---@field invocations segue.Invocation[] Those of the events

---@class segue.ListOptions
---@field cwd? string|false Sessions of this directory and its repository (default: this workspace); false: all
---@field archived? boolean Include archived sessions
---@field cursor? string The `next_cursor` of the previous page
---@field limit? integer (default: 200, at most 1000)

---@class segue.SearchOptions
---@field query string Words and "quoted phrases"; all of them must occur in one event, or in one title
---@field cwd? string|false As of |segue.ListOptions|
---@field archived? boolean Include archived sessions
---@field session_id? string Only this session, archived or not
---@field types? string[] Only events of these types, and no titles
---@field sources? string[] Only sessions that were imported from these programs
---@field cursor? string The `next_cursor` of the previous page, with the same query
---@field limit? integer (default: 20, at most 200)

---@class segue.SearchPage
---@field hits segue.SearchHit[]
---@field next_cursor? string nil: there is nothing more
---@field complete boolean false: the page ended because time was up

---@class segue.ExportOptions
---@field session_id? string (default: the current session)
---@field format? "markdown"|"html"|"jsonl" (default: "markdown")
---@field cursor? string The `next_cursor` of the previous page

---@class segue.ExportPage
---@field content string
---@field next_cursor? string nil: this is the last page
---@field media_type string
---@field file_name string A name for the file

---@class segue.SessionOptions
---@field session_id? string (default: the current session)

---@class segue.ForkOptions
---@field session_id? string (default: the current session)
---@field at? string The id of the last event that the fork has (default: all)
---@field title? string (default: "copy of …" and the original's title)
---@field archive_original? boolean The fork takes the original's place, and its title
---@field tail? integer How many of the newest events to return (default: 200, at most 1000)

---@class segue.TitleOptions
---@field session_id? string (default: the current session)
---@field title? string One line of at most 200 characters; nil: the automatic title again

--- Open a session and make it the current one of its workspace.
---@param opts? segue.OpenOptions
---@param callback? fun(err?: segue.Error, session?: segue.Session)
function M.open(opts, callback)
  require("segue.registry").open(opts or {}, callback)
end

--- Append an event or a list of events, all of them or none. They are encoded at once, and queued
--- in memory until they are stored, in order, however long the server or the disk is away.
---@param events segue.NewEvent|segue.NewEvent[]
---@param opts? segue.AppendOptions
---@param callback? fun(err?: segue.Error, result?: segue.AppendResult) Runs once all of them are on disk, or refused
---@return string[]? ids of the events; nil if they are refused
function M.append(events, opts, callback)
  return require("segue.registry").append(events, opts or {}, callback)
end

--- Read a page of a session's events, oldest first.
---@param opts? segue.EventsOptions
---@param callback fun(err?: segue.Error, page?: segue.EventPage)
function M.events(opts, callback)
  opts = opts or {}
  local current = M.current()
  local params = {
    sessionId = opts.session_id or (current and current.id),
    before = opts.before,
    after = opts.after,
    limit = opts.limit,
  }
  require("segue.server").request("session/events", params, function(err, result)
    if err then
      return callback(err)
    end
    local records = require("segue.records")
    callback(nil, {
      events = vim.tbl_map(records.event, result.events),
      has_more = result.hasMore,
      invocations = vim.tbl_map(records.invocation, result.invocations),
    })
  end)
end

-- The params of a request about the sessions of a workspace, or of all.
---@param cwd? string|false
---@param params table
---@return table? params nil if the workspace is unknown
local function with_cwd(cwd, params)
  if cwd ~= false then
    local workspaces = require("segue.workspace")
    params.cwd = workspaces.to_wire(cwd or workspaces.of_buffer())
    return params.cwd and params
  end
  return params
end

--- List sessions, newest first.
---@param opts? segue.ListOptions
---@param callback fun(err?: segue.Error, page?: { sessions: segue.SessionInfo[], next_cursor?: string })
function M.list(opts, callback)
  opts = opts or {}
  local params = with_cwd(opts.cwd, vim.empty_dict())
  if not params then
    return vim.schedule_wrap(callback)(require("segue.workspace").UNKNOWN)
  end
  params.archived, params.cursor, params.limit = opts.archived, opts.cursor, opts.limit
  require("segue.server").request("session/list", params, function(err, result)
    if err then
      return callback(err)
    end
    local next_cursor = result.nextCursor ~= vim.NIL and result.nextCursor or nil
    local sessions = vim.tbl_map(require("segue.records").session_info, result.sessions)
    callback(nil, { sessions = sessions, next_cursor = next_cursor })
  end)
end

--- Find the events, and the titles of sessions, that have every word of a query, newest first.
---@param opts segue.SearchOptions
---@param callback fun(err?: segue.Error, page?: segue.SearchPage)
function M.search(opts, callback)
  vim.validate("query", opts.query, "string")
  local params = with_cwd(not opts.session_id and opts.cwd, { query = opts.query })
  if not params then
    return vim.schedule_wrap(callback)(require("segue.workspace").UNKNOWN)
  end
  params.archived, params.sessionId = opts.archived, opts.session_id
  params.types, params.sources = opts.types, opts.sources
  params.cursor, params.limit = opts.cursor, opts.limit
  require("segue.server").request("session/search", params, function(err, result)
    if err then
      return callback(err)
    end
    local next_cursor = result.nextCursor ~= vim.NIL and result.nextCursor or nil
    local hits = vim.tbl_map(require("segue.records").search_hit, result.hits)
    callback(nil, { hits = hits, next_cursor = next_cursor, complete = result.complete })
  end)
end

--- Export a session as a file, page by page: all `content` joined is the file.
---@param opts? segue.ExportOptions
---@param callback fun(err?: segue.Error, page?: segue.ExportPage)
function M.export(opts, callback)
  opts = opts or {}
  local current = M.current()
  local params = {
    sessionId = opts.session_id or (current and current.id),
    format = opts.format or "markdown",
    cursor = opts.cursor,
  }
  require("segue.server").request("session/export", params, function(err, result)
    if err then
      return callback(err)
    end
    callback(nil, require("segue.records").export_page(result))
  end)
end

--- Archive a session and open a new one in its place. Later appends to the current session go to
--- the new one; those to the old id to the old one, with which they belong.
---@param opts? segue.SessionOptions
---@param callback? fun(err?: segue.Error, session?: segue.Session)
function M.reset(opts, callback)
  require("segue.registry").reset(opts or {}, callback)
end

--- Fork a session, and make the fork the current one. The original is not changed, or archived if
--- the fork takes its place.
---@param opts? segue.ForkOptions
---@param callback? fun(err?: segue.Error, session?: segue.Session)
function M.fork(opts, callback)
  require("segue.registry").fork(opts or {}, callback)
end

--- Undo a fork that took its original's place: unarchive the original, archive the fork, and make
--- the original the current one.
---@param opts? segue.SessionOptions
---@param callback? fun(err?: segue.Error, session?: segue.Session)
function M.undo(opts, callback)
  require("segue.registry").undo(opts or {}, callback)
end

--- Give a session a title that stays whatever is appended; without one, the automatic title again.
---@param opts? segue.TitleOptions
---@param callback? fun(err?: segue.Error, session?: segue.SessionInfo)
function M.set_title(opts, callback)
  require("segue.registry").set_title(opts or {}, callback)
end

--- Archive a session: it is not resumed automatically any more. Later events with its id are stored
--- in it, too.
---@param opts? segue.SessionOptions
---@param callback? fun(err?: segue.Error, result?: { session_id: string })
function M.archive(opts, callback)
  require("segue.registry").archive(opts or {}, callback)
end

--- Delete a session and all its events permanently.
---@param opts { session_id: string }
---@param callback? fun(err?: segue.Error)
function M.delete(opts, callback)
  vim.validate("session_id", opts.session_id, "string")
  require("segue.registry").delete(opts, callback)
end

--- The current session of the buffer's workspace, if one is open. Its fields are kept up to date.
---@return segue.Session?
function M.current()
  return require("segue.registry").current()
end

--- Call *listener* after each event of this kind: `resumed` (an earlier session was resumed here),
--- `appended` (`detail` is the list of events that were stored), `reset` (`session` is the new one,
--- `detail.from` the id of the old one), `moved` (the conversation continues under another session
--- id, for example after a conflict with another window; `detail.from` is the old id).
---@param event segue.EventName
---@param listener fun(session: segue.Session, detail: any)
---@return fun() off Removes the listener
function M.on(event, listener)
  return require("segue.subscriptions").on(event, listener)
end

--- The statusline text: empty if no session is open, else `segue 12` for a session of 12 events,
--- `segue 12 +3` while three more are on their way, and
--- `segue 12 +3 unsent since 14:05, storage full` while they cannot be stored. Sends no request.
---@return string
function M.status()
  return require("segue.registry").status()
end

--- Merge *opts* into `vim.g.segue`. Optional.
---@param opts? segue.Config
function M.setup(opts)
  vim.g.segue = vim.tbl_deep_extend("force", vim.g.segue or {}, opts or {})
  if vim.g.segue.watch ~= nil and vim.v.vim_did_enter == 1 then
    require("segue.watch").update()
  end
end

return M
