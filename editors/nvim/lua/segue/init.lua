--- Segue keeps the AI conversations that people have in their editors, and brings them back.
---
--- Nothing here waits: every call returns at once, and its callback runs later, on the main loop,
--- with an error or a result. See |segue-api|.

local M = {}

---@class segue.OpenOptions
---@field workspace? string A directory (default: the git root of the buffer or the working directory)
---@field session_id? string Open this one, whatever its age
---@field mode? "auto"|"new"|"resume" What to do without a `session_id` (default: "auto")
---@field tail? integer How many of the newest events are wanted (default: 200, at most 1000)

---@class segue.NewEvent
---@field type string
---@field data table
---@field id? string Yours, unique in its session; else one is made

---@class segue.AppendOptions
---@field session_id? string (default: the current session; if none is open, one is opened as by `open()`)

---@class segue.AppendResult
---@field session_id string
---@field events { id: string, seq: integer }[]

---@class segue.EventsOptions
---@field session_id? string (default: the current session)
---@field before? integer The last ones below this `seq`
---@field after? integer The first ones above this `seq`
---@field limit? integer (default: 200, at most 1000)

---@class segue.ListOptions
---@field cwd? string|false Only of this directory and its repository (default: this workspace); false: everywhere
---@field archived? boolean The archived ones too
---@field cursor? string The `next_cursor` of the page before
---@field limit? integer (default: 200, at most 1000)

---@class segue.SessionOptions
---@field session_id? string (default: the current session)


--- Open a session and make it the current one of this Neovim.
---@param opts? segue.OpenOptions
---@param callback? fun(err?: segue.Error, session?: segue.Session)
function M.open(opts, callback)
  require("segue.session").open(opts or {}, callback)
end

--- Append an event, or a list of them. They are kept until they are stored, in the order in which
--- they were given, whatever happens to the server meanwhile.
---@param events segue.NewEvent|segue.NewEvent[]
---@param opts? segue.AppendOptions
---@param callback? fun(err?: segue.Error, result?: segue.AppendResult) They are on disk
---@return string[]? ids Of the events, at once; nil if one of them cannot be stored
function M.append(events, opts, callback)
  return require("segue.session").append(events, opts or {}, callback)
end

--- Read a page of a session's events, oldest first.
---@param opts? segue.EventsOptions
---@param callback fun(err?: segue.Error, page?: { events: segue.Event[], has_more: boolean })
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
    local events = vim.tbl_map(require("segue.records").event, result.events)
    callback(nil, { events = events, has_more = result.hasMore })
  end)
end

--- List sessions, newest first.
---@param opts? segue.ListOptions
---@param callback fun(err?: segue.Error, page?: { sessions: segue.SessionInfo[], next_cursor?: string })
function M.list(opts, callback)
  opts = opts or {}
  local server = require("segue.server")
  local params = vim.empty_dict()
  params.archived, params.cursor, params.limit = opts.archived, opts.cursor, opts.limit
  if opts.cwd ~= false then
    params.cwd = opts.cwd or server.workspace()
  end
  server.request("session/list", params, function(err, result)
    if err then
      return callback(err)
    end
    local next_cursor = result.nextCursor ~= vim.NIL and result.nextCursor or nil
    local sessions = vim.tbl_map(require("segue.records").session_info, result.sessions)
    callback(nil, { sessions = sessions, next_cursor = next_cursor })
  end)
end

--- Archive a session and begin a new one in its place. What is appended from now on, to the current
--- session or to the old id, goes to the new one.
---@param opts? segue.SessionOptions
---@param callback? fun(err?: segue.Error, session?: segue.Session)
function M.reset(opts, callback)
  require("segue.session").reset(opts or {}, callback)
end

--- Put a session aside: it is not resumed by itself any more.
---@param opts? segue.SessionOptions
---@param callback? fun(err?: segue.Error)
function M.archive(opts, callback)
  require("segue.session").archive(opts or {}, callback)
end

--- Remove a session and its text for good.
---@param opts { session_id: string }
---@param callback? fun(err?: segue.Error)
function M.delete(opts, callback)
  vim.validate("session_id", opts.session_id, "string")
  require("segue.session").delete(opts, callback)
end

--- The current session of this Neovim, if one is open. Its fields follow what happens.
---@return segue.Session?
function M.current()
  return require("segue.session").current()
end

--- Call *listener* whenever something happens: `resumed` (an earlier session goes on here),
--- `appended` (the detail is the list of events that are on disk now), `reset` (the session is the
--- new one, `detail.from` the id of the old), `moved` (the conversation goes on under another id,
--- as when another window went on with the session; `detail.from` is the old id).
---@param event segue.EventName
---@param listener fun(session: segue.Session, detail: any)
---@return fun() off Stops the calls
function M.on(event, listener)
  return require("segue.listeners").on(event, listener)
end

--- What a statusline may show: empty, or `segue 12`, or `segue 12 +3` while three events are not
--- stored yet. Never asks the server.
---@return string
function M.status()
  return require("segue.session").status()
end

--- Set what `vim.g.segue` holds. Optional.
---@param opts? segue.Config
function M.setup(opts)
  vim.g.segue = vim.tbl_deep_extend("force", vim.g.segue or {}, opts or {})
end

return M
