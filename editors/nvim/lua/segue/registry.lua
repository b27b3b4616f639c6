--- The conversations that are open in this Neovim, and the operations of |segue-api| on them.

local Conversation = require("segue.conversation")
local Outbox = require("segue.outbox")
local config = require("segue.config")
local format = require("segue.format")
local messages = require("segue.messages")
local open_requests = require("segue.open_requests")
local records = require("segue.records")
local server = require("segue.server")
local subscriptions = require("segue.subscriptions")
local uuid = require("segue.uuid")
local workspaces = require("segue.workspace")

local M = {}

local EXIT_TIMEOUT_MS = 1500

local conversations = {} ---@type table<segue.Conversation, true>
local by_id = {} ---@type table<string, segue.Conversation> by every session id that it had here
local current = {} ---@type table<string, segue.Conversation> by workspace key

-- The workspace of a buffer is looked up on disk, but not at every drawing of the statusline.
local STATUS_LOOKUP_MS = 2000
local status_used = false
---@type table<integer, { from: string, time: integer, key?: string }> by buffer
local last_lookups = {}

---@param workspace? string
---@return string? key
local function key_of(workspace)
  return workspace and workspaces.key(workspace)
end

---@return string? key
local function key_here()
  return key_of(workspaces.of_buffer())
end

local redraw_scheduled = false

local function redraw_status()
  if status_used and not redraw_scheduled then
    redraw_scheduled = true
    vim.schedule(function()
      redraw_scheduled = false
      vim.cmd.redrawstatus({ bang = true })
    end)
  end
end

---@param conversation segue.Conversation
---@param successor? segue.Conversation
local function replace_current(conversation, successor)
  for key, other in pairs(current) do
    if other == conversation then
      current[key] = successor
    end
  end
  redraw_status()
end

---@type segue.ConversationOwner
local owner = {
  claim = function(conversation, id)
    local other = by_id[id]
    if other and other ~= conversation and not other.deleted and other.record then
      if other.record.id == id then
        return other
      end
    end
    by_id[id] = conversation
  end,
  remove = function(conversation, successor)
    conversations[conversation] = nil
    for id, other in pairs(by_id) do
      if other == conversation then
        by_id[id] = successor
      end
    end
    replace_current(conversation, successor)
  end,
  deleted = function(conversation)
    conversations[conversation] = nil
    replace_current(conversation, nil)
  end,
  changed = redraw_status,
}

---@param workspace string
---@param open_first fun(conversation: segue.Conversation, callback: segue.OpenCallback)
---@param fallback? segue.Conversation
---@return segue.Conversation
local function add(workspace, open_first, fallback)
  local conversation = Conversation.new(owner, workspace, open_first, fallback)
  conversations[conversation] = true
  return conversation
end

---@param params table of `session/open`
---@return segue.Conversation
local function add_by_params(params)
  return add(params.workspace, function(_, callback)
    open_requests.open(params, callback)
  end)
end

---@param id string
---@return segue.Conversation
local function add_by_id(id)
  local conversation = add(workspaces.of_buffer() or "", function(_, callback)
    open_requests.reopen(id, callback)
  end)
  conversation.asked_id = id
  by_id[id] = conversation
  return conversation
end

---@param id? string
---@return segue.Conversation?
local function find(id)
  if id then
    return by_id[id]
  end
  local key = key_here()
  return key and current[key]
end

-- The conversation of this very session, not the one that went on in a fork of it: only what is
-- appended follows there.
---@param id? string
---@return segue.Conversation?
local function find_exact(id)
  local conversation = find(id)
  if conversation and not (id and conversation.left[id]) then
    return conversation
  end
end

local NOT_OPEN = {
  code = -32602,
  message = "no conversation is open; give an id, see :Segue list",
  data = {},
}

---@param id? string
---@return segue.Conversation? conversation, segue.Error? err
local function find_or_add(id)
  local conversation = find(id)
  if conversation then
    return conversation
  elseif id then
    return add_by_id(id)
  end
  local params = open_requests.params({ tail = 0 })
  local key = key_of(params.workspace)
  if not key then
    return nil, workspaces.UNKNOWN
  end
  current[key] = add_by_params(params)
  return current[key]
end

--- Make a conversation the current one of a workspace: the user goes on with it. If it was
--- archived, the next append unarchives it.
---@param conversation segue.Conversation
---@param workspace string
function M.continue(conversation, workspace)
  conversation:continue()
  current[workspaces.key(workspace)] = conversation
  redraw_status()
end

--- A new conversation, whose session is opened with its first event. It is not the current one.
---@param workspace string
---@return segue.Conversation
function M.start(workspace)
  return add_by_params(open_requests.params({ workspace = workspace, mode = "new", tail = 0 }))
end

--- The conversation of a session, which is opened with its next event if it is not open here.
---@param id string
---@return segue.Conversation
function M.reopen(id)
  return by_id[id] or add_by_id(id)
end

--- The conversation of a session that is open here.
---@param id string
---@return segue.Conversation?
function M.of_session(id)
  return by_id[id]
end

-- Have what the server opened as a conversation.
---@param params table of `session/open`, with a workspace
---@param result table of `session/open`
---@param quietly? boolean The user is not told that it was resumed
---@return segue.Conversation
local function adopt(params, result, quietly)
  local id = result.session.sessionId
  local conversation = by_id[id]
  local is_other = conversation and conversation.record and conversation.record.id ~= id
  if not conversation or is_other or conversation.deleted then
    conversation = add_by_params(params)
  end
  conversation:adopt(result, quietly)
  return assert(by_id[id])
end

-- Make what the server opened the current conversation of a workspace.
---@param params table of `session/open`, with a workspace
---@param result table of `session/open`
---@param quietly? boolean The user is not told that it was resumed
---@return segue.Session
local function go_on_with(params, result, quietly)
  local conversation = adopt(params, result, quietly)
  M.continue(conversation, params.workspace)
  conversation:flush()
  return assert(conversation.record)
end

--- Open a session and make its conversation the current one of its workspace, see |segue.open()|.
---@param opts segue.OpenOptions
---@param callback? fun(err?: segue.Error, session?: segue.Session)
function M.open(opts, callback)
  local params = open_requests.params(opts)
  if not params.workspace then
    return callback and vim.schedule_wrap(callback)(workspaces.UNKNOWN)
  end
  open_requests.open(params, function(err, result)
    if err then
      return callback and callback(err)
    end
    local record = go_on_with(params, result)
    if callback then
      callback(nil, record)
    end
  end)
end

--- Have a session that another program records as a conversation, as it is stored now.
---@param id string
---@param workspace string
---@param is_current boolean Make it the current one of the workspace
---@param callback fun(conversation?: segue.Conversation, last_event?: table) nil: it cannot be read now
function M.follow(id, workspace, is_current, callback)
  local params = open_requests.params({ session_id = id, workspace = workspace, tail = 1 })
  open_requests.open(params, function(err, result)
    if err then
      return callback(nil)
    end
    local conversation = adopt(params, result, true)
    if is_current then
      M.continue(conversation, params.workspace)
    end
    redraw_status()
    callback(conversation, result.events[#result.events])
  end)
end

---@param events segue.QueuedEvent[]
---@return boolean
local function has_question(events)
  return vim.iter(events):any(function(event)
    return event.type == "user_message"
  end)
end

---@param err segue.Error
---@param callback? fun(err: segue.Error)
local function refuse(err, callback)
  if Outbox.should_notify(err) then
    config.notify("nothing was appended: " .. err.message, vim.log.levels.ERROR)
  end
  if callback then
    vim.schedule(function()
      messages.protect("a callback of append", callback, err)
    end)
  end
end

-- A question makes its conversation the current one of its workspace if there is none: after it was
-- archived, the user went on with it.
---@param conversation segue.Conversation
---@param call segue.OutboxCall
local function queue(conversation, call)
  local key = has_question(call.events) and key_of(conversation.workspace)
  if key and not current[key] and not conversation.deleted then
    current[key] = conversation
  end
  conversation:append(call)
end

--- Queue events until they are stored, see |segue.append()|.
---@param events segue.NewEvent|segue.NewEvent[]
---@param opts segue.AppendOptions
---@param callback? fun(err?: segue.Error, result?: segue.AppendResult)
---@return string[]? ids nil if they are refused
function M.append(events, opts, callback)
  local call, err = Outbox.prepare(events, opts, callback)
  local id, conversation = opts.session_id, nil
  if call and id ~= nil and type(id) ~= "string" then
    err = { code = -32602, message = "session_id: expected a string", data = {} }
  elseif call then
    conversation, err = find_or_add(id)
  end
  if not call or not conversation then
    return refuse(assert(err), callback)
  end
  queue(conversation, call)
  return vim.tbl_map(function(event)
    return event.id
  end, call.events)
end

--- Queue events in a conversation until they are stored.
---@param conversation segue.Conversation
---@param events segue.NewEvent[]
---@param origin segue.Origin
---@param callback? fun(err?: segue.Error, result?: segue.AppendResult)
function M.append_to(conversation, events, origin, callback)
  local call, err = Outbox.prepare(events, origin, callback)
  if not call then
    return refuse(assert(err), callback)
  end
  queue(conversation, call)
end

--- Archive a session and open a new one in its place, see |segue.reset()|. What is appended to the
--- old one by its id is stored in the old one.
---@param opts segue.SessionOptions
---@param callback? fun(err?: segue.Error, session?: segue.Session)
function M.reset(opts, callback)
  local old = find_exact(opts.session_id) or (opts.session_id and add_by_id(opts.session_id))
  if old then
    return M.replace(old, callback)
  end
  M.open({ mode = "new" }, callback)
end

--- Archive the session of a conversation and open a new one in its place. From now on the new
--- conversation is the current one, if the old one was, and its successor.
---@param old segue.Conversation
---@param callback? fun(err?: segue.Error, session?: segue.Session)
function M.replace(old, callback)
  local old_id
  -- If the reset fails, events appended meanwhile go back to the old conversation: it is the
  -- fallback.
  local new = add(old.workspace, function(_, on_opened)
    old:when_idle(function()
      old_id = old.record and old.record.id or old.asked_id
      open_requests.reset(old:directory(), old_id, on_opened)
    end)
  end, old)
  new:when_opened(function(err, record)
    if err then
      old.successor = nil
    else
      old.is_archived = true
      subscriptions.emit("reset", record, { from = old_id })
    end
    if callback then
      callback(err, record)
    end
  end)
  old.successor = new
  replace_current(old, new)
  new:flush()
end

---@param id? string
---@param callback? fun(err?: segue.Error, result?: any)
---@param ask fun(id: string, conversation?: segue.Conversation, callback: fun(err?: segue.Error, result?: any))
local function ask_for(id, callback, ask)
  callback = vim.schedule_wrap(callback or function() end)
  local conversation = find_exact(id)
  if not conversation and not id then
    return callback(NOT_OPEN)
  end
  local function ask_now()
    local session_id = conversation and conversation.record and conversation.record.id or id
    if not session_id then
      return callback(NOT_OPEN)
    end
    ask(session_id, conversation, callback)
  end
  if conversation then
    return conversation:when_idle(ask_now)
  end
  ask_now()
end

--- Archive a session once its queued events are stored, see |segue.archive()|. Later events with
--- its id are stored in it, too.
---@param opts segue.SessionOptions
---@param callback? fun(err?: segue.Error, result?: { session_id: string })
function M.archive(opts, callback)
  ask_for(opts.session_id, callback, function(id, conversation, on_archived)
    server.request("session/archive", { sessionId = id }, function(err)
      if not err and conversation then
        conversation.is_archived, conversation.unarchives = true, false
        replace_current(conversation, nil)
      end
      on_archived(err, not err and { session_id = id } or nil)
    end)
  end)
end

--- Bring an archived session back.
---@param id string
---@param callback? fun(err?: segue.Error)
function M.unarchive(id, callback)
  ask_for(id, callback, function(session_id, conversation, on_unarchived)
    server.request("session/unarchive", { sessionId = session_id }, function(err)
      if not err and conversation then
        conversation.is_archived, conversation.unarchives = false, false
      end
      on_unarchived(err)
    end)
  end)
end

--- Fork a session once its queued events are stored, and make the fork the current one, see
--- |segue.fork()|.
---@param opts segue.ForkOptions
---@param callback? fun(err?: segue.Error, session?: segue.Session)
function M.fork(opts, callback)
  local workspace = open_requests.params({}).workspace
  ask_for(opts.session_id, callback, function(id, original, on_forked)
    local params = {
      sessionId = id,
      at = opts.at,
      title = opts.title,
      archiveOriginal = opts.archive_original,
      newSessionId = uuid.v7(),
      tail = opts.tail,
    }
    open_requests.fork(params, function(err, result)
      if err then
        return on_forked(err)
      end
      local place = { workspace = workspace or result.session.directory }
      local fork = go_on_with(place, result)
      if original and opts.archive_original then
        original.is_archived, original.unarchives = true, false
        replace_current(original, by_id[fork.id])
      end
      on_forked(nil, fork)
    end)
  end)
end

local NOTHING_TO_UNDO = {
  code = -32602,
  message = "there is nothing to undo: this conversation was not rewound",
  data = {},
}

-- A fork that was archived with its original was archived later than it was made.
---@param fork segue.SessionInfo
---@param original segue.SessionInfo
---@return boolean
local function took_place_of(fork, original)
  return original.archived_at ~= nil and original.archived_at <= fork.created_at
end

---@param fork segue.SessionInfo
---@param callback fun(err?: segue.Error, result?: table) the original, as `session/open` returns it
local function bring_back_original(fork, callback)
  if not fork.forked_from then
    return callback(NOTHING_TO_UNDO)
  end
  open_requests.reopen(fork.forked_from, function(err, result)
    if err or not took_place_of(fork, records.session_info(result.session)) then
      return callback(err or NOTHING_TO_UNDO)
    end
    server.request("session/unarchive", { sessionId = fork.forked_from }, function(unarchive_err)
      if unarchive_err then
        return callback(unarchive_err)
      end
      result.session.archivedAt = vim.NIL
      server.request("session/archive", { sessionId = fork.id }, function(archive_err)
        callback(archive_err, result)
      end)
    end)
  end)
end

--- Undo a rewind: unarchive the original, archive the fork that took its place, and make the
--- original the current one, see |segue.undo()|.
---@param opts segue.SessionOptions
---@param callback? fun(err?: segue.Error, session?: segue.Session)
function M.undo(opts, callback)
  local workspace = open_requests.params({}).workspace
  ask_for(opts.session_id, callback, function(id, fork, on_undone)
    open_requests.reopen(id, function(open_err, opened)
      if open_err then
        return on_undone(open_err)
      end
      bring_back_original(records.session_info(opened.session), function(err, result)
        if err then
          return on_undone(err)
        end
        local place = { workspace = workspace or result.session.directory }
        local original = go_on_with(place, result, true)
        if fork then
          fork.is_archived, fork.unarchives = true, false
          replace_current(fork, by_id[original.id])
        end
        on_undone(nil, original)
      end)
    end)
  end)
end

--- Give a session a title, or with nil its automatic one again, see |segue.set_title()|.
---@param opts segue.TitleOptions
---@param callback? fun(err?: segue.Error, session?: segue.SessionInfo)
function M.set_title(opts, callback)
  ask_for(opts.session_id, callback, function(id, conversation, on_set)
    local params = { sessionId = id, title = opts.title or vim.NIL }
    server.request("session/setTitle", params, function(err, result)
      if err then
        return on_set(err)
      end
      local session = records.session_info(result.session)
      if conversation and conversation.record and conversation.record.id == id then
        conversation.record.title = session.title
      end
      on_set(nil, session)
    end)
  end)
end

--- Delete a session with all its events, see |segue.delete()|.
---@param opts segue.SessionOptions
---@param callback? fun(err?: segue.Error)
function M.delete(opts, callback)
  local conversation = find_exact(opts.session_id)
  local id = conversation and conversation.record and conversation.record.id or opts.session_id
  server.request("session/delete", { sessionId = id }, function(err)
    if not err and conversation then
      conversation:on_deleted()
    end
    if callback then
      callback(err)
    end
  end)
end

--- The session of the current conversation, or nil if none is open.
---@return segue.Session?
function M.current()
  local conversation = find()
  return conversation and conversation.record
end

--- What is not stored yet, of all conversations.
---@class segue.Unsent
---@field count integer
---@field since? integer When the oldest of it was appended, in seconds since 1970
---@field failure? segue.Failure nil while it is merely on its way

---@return segue.Unsent
function M.unsent_state()
  local unsent = { count = 0 }
  for conversation in pairs(conversations) do
    local count, since = conversation.outbox:count(), conversation.outbox:since()
    unsent.count = unsent.count + count
    if since then
      unsent.since = math.min(unsent.since or since, since)
      unsent.failure = unsent.failure or conversation.failure
    end
  end
  return unsent
end

-- In the statusline, which may be narrow. No `%`: some plugins evaluate the text.
local SHORT_REASONS = {
  ServerStopped = "server stopped",
  ServerNotFound = "server not found",
  StorageFull = "storage full",
  StorageReadOnly = "storage read-only",
  StorageCorrupt = "storage damaged",
  StorageUnavailable = "storage unavailable",
}

---@return string? key
local function key_for_status()
  local buffer = vim.api.nvim_get_current_buf()
  local own = tostring(vim.b[buffer].segue_workspace)
  local from = table.concat({ vim.api.nvim_buf_get_name(buffer), vim.fn.getcwd(), own }, "\n")
  local lookup, now = last_lookups[buffer], vim.uv.now()
  if not lookup or lookup.from ~= from or now - lookup.time > STATUS_LOOKUP_MS then
    lookup = { from = from, time = now, key = key_here() }
    last_lookups[buffer] = lookup
  end
  return lookup.key
end

--- The statusline text, see |segue.status()|. After the first call, changes redraw the statusline.
---@return string
function M.status()
  status_used = true
  local unsent = M.unsent_state()
  local failure = unsent.failure and SHORT_REASONS[unsent.failure.kind]
  local trouble = server.trouble()
  local conversation = current[key_for_status() or ""]
  if not (conversation and conversation.record) and unsent.count == 0 and not trouble then
    return ""
  end
  local parts = { "segue" }
  if conversation and conversation.record then
    table.insert(parts, tostring(conversation.record.event_count))
  end
  if failure then
    local since = os.date("%H:%M", unsent.since)
    table.insert(parts, ("+%d unsent since %s, %s"):format(unsent.count, since, failure))
  elseif unsent.count > 0 then
    table.insert(parts, ("+%d"):format(unsent.count))
  elseif trouble then
    table.insert(parts, "server " .. trouble)
  end
  return table.concat(parts, " ")
end

--- How many events of all conversations are not stored yet.
---@return integer
function M.unsent()
  return M.unsent_state().count
end

--- Send what waits for a retry now: the user asked for it, or a server has started.
function M.retry_now()
  for _, conversation in ipairs(vim.tbl_keys(conversations)) do
    conversation:retry_now()
  end
end

local function is_drained()
  return M.unsent() == 0 or server.is_unavailable()
end

local has_drained = false
local exit_callbacks = {} ---@type fun()[]

--- Run *callback* when Neovim exits, before what waits is stored.
---@param callback fun()
function M.before_exit(callback)
  table.insert(exit_callbacks, callback)
end

-- Neovim exits: drain the outboxes within EXIT_TIMEOUT_MS; send what is left without waiting.
local function drain_on_exit()
  if has_drained or vim.v.exiting == vim.NIL then
    return
  end
  has_drained = true
  for _, callback in ipairs(exit_callbacks) do
    callback()
  end
  M.retry_now()
  vim.wait(EXIT_TIMEOUT_MS, is_drained, 5)
  if M.unsent() == 0 then
    return
  end
  for conversation in pairs(conversations) do
    conversation:send_remaining()
  end
  local count = format.count(M.unsent(), "event")
  messages.show(
    ("%s not confirmed as stored before Neovim exited"):format(count),
    vim.log.levels.ERROR
  )
end

server.after_start(M.retry_now)
-- Both: Neovim's LSP client may stop the server before or after this autocommand runs.
server.before_shutdown(drain_on_exit)
vim.api.nvim_create_autocmd("VimLeavePre", {
  group = vim.api.nvim_create_augroup("segue_exit", { clear = true }),
  desc = "Segue: store queued events",
  callback = drain_on_exit,
})

return M
