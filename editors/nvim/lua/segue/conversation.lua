--- One conversation that is open in this Neovim: it queues events, sends them in order, and
--- recovers from server crashes and from conflicts with other windows.
---
--- A conversation can outlive its session: after a conflict, or a crash before anything was stored,
--- it continues under another session id. What is appended to it is never stored in another
--- conversation, and nowhere once it was deleted.

local Outbox = require("segue.outbox")
local config = require("segue.config")
local format = require("segue.format")
local open_requests = require("segue.open_requests")
local records = require("segue.records")
local server = require("segue.server")
local subscriptions = require("segue.subscriptions")
local text = require("segue.text")
local uuid = require("segue.uuid")

local FIRST_PAUSE_MS = 500
local LONGEST_PAUSE_MS = 30000
local MAX_TITLE_CHARACTERS = 80

local CONFLICT = "another window continued it too; you go on in a copy"
local SHARED = "it is %s's, who shares it to be read; you go on in a copy"

-- Errors after which the same events are sent again. Any other refuses them.
local NOT_NOW = {
  ServerGone = true,
  ServerStopped = true,
  ServerNotFound = true,
  StorageUnavailable = true,
  StorageFull = true,
  StorageReadOnly = true,
  StorageCorrupt = true,
}

---@class segue.ConversationOwner What a conversation needs of the registry
---@field claim fun(conversation: segue.Conversation, id: string): segue.Conversation? Register it under a session id; or return the other conversation that already has this session
---@field remove fun(conversation: segue.Conversation, successor?: segue.Conversation) Remove it, and register the successor, if any, under its ids
---@field deleted fun(conversation: segue.Conversation) Its session is deleted: it is not the current one any more
---@field changed fun() Its event count or queue length may have changed

---@class segue.Failure Why events are not stored
---@field kind string
---@field message string

---@class segue.Conversation
---@field record? segue.Session nil until the session is open
---@field workspace string
---@field outbox segue.Outbox
---@field closed boolean It is not in the registry any more; responses to it are ignored
---@field heir? segue.Conversation The one that got its queue when it was closed
---@field deleted boolean Its session is deleted: what is appended to it is refused
---@field asked_id? string The id by which it was asked for, if it was
---@field successor? segue.Conversation The one that was opened in its place: what the user says next goes there
---@field failure? segue.Failure Why its events are not stored, while they are not
---@field private owner segue.ConversationOwner
---@field private open_first fun(self: segue.Conversation, callback: segue.OpenCallback) Opens its session for the first time
---@field private fallback? segue.Conversation Gets the queued events if the first opening fails
---@field private opened_callbacks fun(err?: segue.Error, record?: segue.Session)[]
---@field private idle_callbacks fun()[]
---@field private generation? integer The generation of the server in which the session was opened
---@field private busy boolean A request of it is not answered yet
---@field private retry_timer? uv.uv_timer_t
---@field private pause_ms integer Before the next retry
---@field is_archived boolean As far as this Neovim knows
---@field unarchives boolean The next append unarchives its session
---@field head? string Id of the last event that this window knows
---@field private head_seq integer Its `seq`; 0 if there is none
---@field private fork_id? string The id of the fork that a conflict asks for, until it is open
---@field left table<string, true> Ids of the sessions of which it went on in a fork
---@field private notified table<string, true> Topics that the user was notified of
local Conversation = {}
Conversation.__index = Conversation

--- A conversation whose session is opened by its first flush.
---@param owner segue.ConversationOwner
---@param workspace string
---@param open_first fun(self: segue.Conversation, callback: segue.OpenCallback)
---@param fallback? segue.Conversation
---@return segue.Conversation
function Conversation.new(owner, workspace, open_first, fallback)
  return setmetatable({
    record = nil,
    workspace = workspace,
    outbox = Outbox.new(),
    closed = false,
    deleted = false,
    failure = nil,
    owner = owner,
    open_first = open_first,
    fallback = fallback,
    opened_callbacks = {},
    idle_callbacks = {},
    generation = nil,
    busy = false,
    retry_timer = nil,
    pause_ms = FIRST_PAUSE_MS,
    is_archived = false,
    unarchives = false,
    head = nil,
    head_seq = 0,
    fork_id = nil,
    left = {},
    notified = {},
  }, Conversation)
end

--- Notify the user, at most once for each topic of this conversation.
---@param topic string
---@param message string
---@param level integer
function Conversation:notify_once(topic, message, level)
  if not self.notified[topic] then
    self.notified[topic] = true
    config.notify(message, level)
  end
end

---@private
---@return string
function Conversation:quoted_title()
  return self.record and ("“%s”"):format(format.title(self.record)) or tostring(self.asked_id)
end

---@private
---@return boolean
function Conversation:is_open()
  return self.record ~= nil and self.generation == server.generation()
end

--- Queue the events of a call. They are sent in the next iteration of the event loop, in one
--- request with those appended before it; later, while a retry waits for its time.
---@param call segue.OutboxCall
function Conversation:append(call)
  if self.heir then
    return self.heir:append(call)
  end
  self.outbox:add(call)
  if self.deleted then
    return self:drop_after_deletion()
  end
  self.owner.changed()
  vim.schedule(function()
    if not self.retry_timer then
      self:flush()
    end
  end)
end

--- The user goes on with it: if its session is archived now, the next append unarchives it.
function Conversation:continue()
  self.unarchives = self.is_archived
end

--- Run *callback* once the session is open, or could not be opened.
---@param callback fun(err?: segue.Error, record?: segue.Session)
function Conversation:when_opened(callback)
  table.insert(self.opened_callbacks, callback)
end

--- Run *callback* once nothing is queued and no request is unanswered.
---@param callback fun()
function Conversation:when_idle(callback)
  if self.closed or self.deleted then
    return callback()
  end
  table.insert(self.idle_callbacks, callback)
  self:flush()
end

--- Open the session if it is not open, else send the next batch; nothing while a request is
--- unanswered.
function Conversation:flush()
  if self.busy or self.closed or self.deleted then
    return
  elseif self.outbox:count() == 0 and (self.record or #self.opened_callbacks == 0) then
    return self:run_idle_callbacks()
  end
  self.busy = true
  if self:is_open() then
    self:send()
  else
    self:open()
  end
end

--- Flush now, and cancel the retry that waits for its time.
function Conversation:retry_now()
  self:cancel_retry()
  self.pause_ms = FIRST_PAUSE_MS
  self:flush()
end

---@private
function Conversation:cancel_retry()
  if self.retry_timer and not self.retry_timer:is_closing() then
    self.retry_timer:close()
  end
  self.retry_timer = nil
end

---@private
function Conversation:finish_request()
  self.busy = false
  self.owner.changed()
  self:flush()
end

---@private
function Conversation:run_idle_callbacks()
  local callbacks = self.idle_callbacks
  self.idle_callbacks = {}
  for _, callback in ipairs(callbacks) do
    callback()
  end
end

--- Remove this conversation from the registry. A successor, if any, gets its queued events and its
--- idle callbacks, and is found under its ids.
---@param successor? segue.Conversation
function Conversation:close(successor)
  self.closed, self.heir = true, successor
  self:cancel_retry()
  if successor then
    successor.outbox:take_from(self.outbox)
    successor.left = vim.tbl_extend("force", successor.left, self.left)
    vim.list_extend(successor.idle_callbacks, self.idle_callbacks)
  end
  self.owner.remove(self, successor)
end

---@private
function Conversation:open()
  local function on_opened(err, result)
    if self.closed or self.deleted then
      return
    elseif err and err.kind == "SessionNotFound" then
      return self:on_deleted()
    elseif err then
      return self:on_open_failed(err)
    end
    self:adopt(result)
    if not self.closed then
      self:finish_request()
    end
  end
  if self.record then
    self:reopen(on_opened)
  else
    self:open_first(on_opened)
  end
end

-- Of a session of which nothing was ever acknowledged or read, nothing was stored either.
---@private
---@param callback segue.OpenCallback
function Conversation:reopen(callback)
  open_requests.reopen(self.record.id, function(err, result)
    if err and err.kind == "SessionNotFound" and not self.head then
      return self:open_new(callback)
    end
    callback(err, result)
  end)
end

--- The folder of its session, which need not be the one from which it was opened.
---@return string
function Conversation:directory()
  return self.record and self.record.directory or self.workspace
end

--- Open a new session for this conversation; on success, forget the head of the old one.
---@param callback segue.OpenCallback
function Conversation:open_new(callback)
  open_requests.open_new(self:directory(), function(err, result)
    if not err then
      self.head, self.head_seq = nil, 0
    end
    callback(err, result)
  end)
end

---@private
---@param err segue.Error
function Conversation:on_open_failed(err)
  if #self.opened_callbacks == 0 then
    return self:on_failure(err)
  end
  self:close(self.fallback)
  for _, callback in ipairs(self.opened_callbacks) do
    callback(err)
  end
  if self.fallback then
    self.fallback:flush()
  end
end

---@private
---@return segue.Error
function Conversation:deleted_error()
  local message = ("there is no conversation %s any more"):format(self:quoted_title())
  return { code = -32803, kind = "SessionNotFound", message = message, data = {} }
end

---@private
function Conversation:drop_after_deletion()
  local count = self.outbox:drop(self:deleted_error())
  if count > 0 then
    local message = "the conversation %s was deleted; %s not stored"
    local events = format.count(count, "event") .. (count == 1 and " was" or " were")
    self:notify_once("deleted", message:format(self:quoted_title(), events), vim.log.levels.WARN)
  end
end

--- The session was deleted, here or elsewhere: what waits is dropped, and each callback told.
function Conversation:on_deleted()
  self.deleted, self.busy, self.failure = true, false, nil
  self:cancel_retry()
  self:drop_after_deletion()
  self.owner.deleted(self)
  local callbacks = self.opened_callbacks
  self.opened_callbacks = {}
  for _, callback in ipairs(callbacks) do
    callback(self:deleted_error())
  end
  self:run_idle_callbacks()
end

--- Make the session that the server opened the one of this conversation. If another conversation
--- already has that session, merge into it.
---@param result table of `session/open`
---@param quietly? boolean The user is not told that it was resumed
function Conversation:adopt(result, quietly)
  local session = records.session_info(result.session)
  local other = self.owner.claim(self, session.id)
  if other then
    return self:merge_into(other, result)
  end

  local is_first = not self.record
  local old_id = self.record and self.record.id
  if old_id ~= session.id or (self.outbox:count() == 0 and not self.busy) then
    self.head, self.head_seq = session.head, session.event_count
  end
  self.generation = server.generation()
  self.is_archived = session.archived_at ~= nil
  self.record = self.record or {}
  records.update(self.record, session, result)

  if old_id and old_id ~= session.id then
    subscriptions.emit("moved", self.record, { from = old_id })
  end
  if is_first and result.resumed and not quietly then
    local count = format.count(session.event_count, "event")
    config.notify(("resumed %s, %s"):format(self:quoted_title(), count))
    subscriptions.emit("resumed", self.record, { reason = result.reason })
  end
  self:run_opened_callbacks()
end

---@private
---@param other segue.Conversation
---@param result table of `session/open`
function Conversation:merge_into(other, result)
  vim.list_extend(other.opened_callbacks, self.opened_callbacks)
  self:close(other)
  other:adopt(result)
  other:flush()
end

---@private
function Conversation:run_opened_callbacks()
  local callbacks = self.opened_callbacks
  self.opened_callbacks = {}
  self.owner.changed()
  for _, callback in ipairs(callbacks) do
    callback(nil, self.record)
  end
end

---@private
function Conversation:send()
  if self.unarchives then
    return self:unarchive()
  end
  self.outbox:send(self.record.id, self.head, function(batch, err, result)
    if not self.closed and not self.deleted then
      self:on_append_response(batch, err, result)
    end
  end)
end

--- Send all queued events without waiting for responses: Neovim exits.
function Conversation:send_remaining()
  if self:is_open() and (not self.busy or self.outbox:is_in_flight()) then
    self.outbox:send_remaining(self.record.id)
  end
end

---@private
---@param batch segue.OutboxCall[]
---@param err? segue.Error
---@param result? table of `session/append`
function Conversation:on_append_response(batch, err, result)
  if not err then
    self:on_stored(batch, assert(result))
  elseif err.kind == "HeadMoved" or err.kind == "SessionReadOnly" then
    self:fork_after_conflict()
  elseif err.kind == "SessionNotOpen" or err.kind == "SessionNotFound" then
    self.generation = nil
    self:finish_request()
  elseif NOT_NOW[err.kind] then
    self:on_failure(err)
  else
    self.outbox:refuse(batch, err)
    self:finish_request()
  end
end

---@private
---@param batch segue.OutboxCall[]
---@param result table of `session/append`
function Conversation:on_stored(batch, result)
  local record = self.record
  local stored = self.outbox:acknowledge(batch, record.id, result.events)
  self.failure, self.notified.failure, self.pause_ms = nil, nil, FIRST_PAUSE_MS
  for _, event in ipairs(stored) do
    if event.seq > self.head_seq then -- else it was sent again
      self.head, self.head_seq = event.id, event.seq
    end
    if not record.title and event.type == "user_message" then
      local content = vim.json.decode(event.json).data.content
      local first_line = text.one_line(vim.trim(content):match("^[^\r\n]*"))
      record.title = vim.fn.strcharpart(first_line, 0, MAX_TITLE_CHARACTERS)
      record.title = record.title ~= "" and record.title or nil
    end
  end
  record.event_count = result.eventCount
  local origin = batch[1].origin
  if next(origin) then
    record.agent, record.model = origin.agent, origin.model
  end
  if subscriptions.has_listeners("appended") then
    subscriptions.emit("appended", record, vim.tbl_map(function(event)
      local data = vim.json.decode(event.json).data
      return { id = event.id, seq = event.seq, type = event.type, data = data }
    end, stored))
  end
  self:finish_request()
end

---@private
function Conversation:unarchive()
  server.request("session/unarchive", { sessionId = self.record.id }, self:on_success(function()
    self.is_archived, self.unarchives = false, false
    local message = "the archived conversation %s was unarchived because you continued it"
    self:notify_once("archived", message:format(self:quoted_title()), vim.log.levels.INFO)
    self:finish_request()
  end))
end

-- Another window appended to this session, or it is another user's. This window goes on in a fork,
-- which begins with every event that it knows, so both conversations stay complete.
---@private
function Conversation:fork_after_conflict()
  local old_id, shared_by = self.record.id, self.record.shared_by
  local on_forked = self:on_success(function(result)
    self.fork_id = nil
    self.left[old_id] = true
    config.notify(shared_by and SHARED:format(shared_by) or CONFLICT, vim.log.levels.WARN)
    self:adopt(result)
    self:finish_request()
  end)
  if not self.head then
    return self:open_new(on_forked)
  end
  self.fork_id = self.fork_id or uuid.v7()
  local params = { sessionId = old_id, at = self.head, newSessionId = self.fork_id, tail = 0 }
  open_requests.fork(params, function(err, result)
    if err and err.kind == "EventNotFound" then
      -- The store was restored or salvaged without that event: the fork has what is left.
      params.at = nil
      return open_requests.fork(params, on_forked)
    end
    on_forked(err, result)
  end)
end

---@private
---@param callback fun(result: any)
---@return fun(err?: segue.Error, result?: any) callback that handles errors, and ignores responses after `close`
function Conversation:on_success(callback)
  return function(err, result)
    if self.closed or self.deleted then
      return
    elseif err and err.kind == "SessionNotFound" then
      return self:on_deleted()
    elseif err then
      return self:on_failure(err)
    end
    callback(result)
  end
end

---@private
---@param err segue.Error
function Conversation:on_failure(err)
  self.busy = false
  if err.kind == "ServerGone" then
    return self:flush()
  elseif not NOT_NOW[err.kind] then
    return self:give_up(err)
  end
  self.failure = { kind = err.kind, message = err.message }
  -- Of the others, the server module has notified.
  if vim.startswith(err.kind, "Storage") then
    local unsent = format.unsent(self.outbox:count(), nil, err.message)
    self:notify_once("failure", unsent .. " (they are sent again by and by)", vim.log.levels.ERROR)
  end
  self.retry_timer = self.retry_timer
    or vim.defer_fn(function()
      self:cancel_retry()
      self:flush()
    end, self.pause_ms)
  self.pause_ms = math.min(2 * self.pause_ms, LONGEST_PAUSE_MS)
  self.owner.changed()
end

-- The session cannot be opened, and asking again would not help.
---@private
---@param err segue.Error
function Conversation:give_up(err)
  local count = self.outbox:drop(err)
  if count > 0 then
    local message = "%s cannot be stored: %s"
    config.notify(
      message:format(format.count(count, "event"), err.message),
      vim.log.levels.ERROR
    )
  end
  if not self.record then
    self:close()
  end
  self.owner.changed()
  self:run_idle_callbacks()
end

return Conversation
