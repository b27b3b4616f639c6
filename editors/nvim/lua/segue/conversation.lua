--- A conversation that is open here. It sends what was said, in order, and goes on whatever happens
--- to its session: the server dies, another window goes on with it, it is archived or deleted.

local Outbox = require("segue.outbox")
local config = require("segue.config")
local copying = require("segue.copying")
local listeners = require("segue.listeners")
local opening = require("segue.opening")
local records = require("segue.records")
local server = require("segue.server")
local text = require("segue.text")

local RETRY_MS = 10000

---@class segue.Registry Who keeps the conversations
---@field claim fun(of: segue.Conversation, id: string): segue.Conversation? Enter it under this id; or return the other one that goes on with this session already
---@field drop fun(of: segue.Conversation, heir?: segue.Conversation) Enter the heir, if any, wherever this one was
---@field changed fun() What the person sees of it may be another now

---@class segue.Conversation
---@field record? segue.Session nil until it was opened
---@field workspace string
---@field outbox segue.Outbox
---@field dropped boolean It is kept no more; what is answered to it is not heard
---@field private registry segue.Registry
---@field private opening fun(self: segue.Conversation, done: segue.Opened) How it is opened at first
---@field private fallback? segue.Conversation Who gets what was said if that fails
---@field private opened_callbacks fun(err?: segue.Error, record?: segue.Session)[]
---@field private idle_callbacks fun()[]
---@field private generation? integer The start of the server in which it was opened
---@field private busy boolean It waits for an answer
---@field private retry? uv.uv_timer_t
---@field private head? string The last event that this window knows of
---@field private seen integer Its place
---@field private told table<string, true> What is said once for each conversation
local Conversation = {}
Conversation.__index = Conversation

---@param registry segue.Registry
---@param workspace string
---@param how fun(self: segue.Conversation, done: segue.Opened)
---@param fallback? segue.Conversation
---@return segue.Conversation
function Conversation.new(registry, workspace, how, fallback)
  return setmetatable({
    record = nil,
    workspace = workspace,
    outbox = Outbox.new(),
    dropped = false,
    registry = registry,
    opening = how,
    fallback = fallback,
    opened_callbacks = {},
    idle_callbacks = {},
    generation = nil,
    busy = false,
    retry = nil,
    head = nil,
    seen = 0,
    told = {},
  }, Conversation)
end

--- Say something once, however often it happens.
---@param topic string
---@param message string
---@param level integer
function Conversation:say(topic, message, level)
  if not self.told[topic] then
    self.told[topic] = true
    config.notify(message, level)
  end
end

---@private
---@return string
function Conversation:name()
  return ("“%s”"):format(text.title(self.record or {}))
end

---@private
---@return boolean
function Conversation:is_open()
  return self.record ~= nil and self.generation == server.generation()
end

---@param unsent segue.Unsent[]
---@param callback? fun(err?: segue.Error, result?: segue.AppendResult)
---@return string[] ids
function Conversation:append(unsent, callback)
  local ids = self.outbox:put(unsent, callback)
  self.registry.changed()
  if #unsent == 0 and callback then
    vim.schedule(function()
      callback(nil, { session_id = self.record and self.record.id, events = {} })
    end)
  end
  -- What is said in one go is sent in one go.
  vim.schedule(function()
    self:try_now()
  end)
  return ids
end

--- Run *callback* when it was opened, or could not be.
---@param callback fun(err?: segue.Error, record?: segue.Session)
function Conversation:when_opened(callback)
  table.insert(self.opened_callbacks, callback)
end

--- Run *callback* when nothing of it is on its way any more.
---@param callback fun()
function Conversation:when_idle(callback)
  table.insert(self.idle_callbacks, callback)
  self:flush()
end

--- Send what can be sent now.
function Conversation:flush()
  if self.busy or self.dropped then
    return
  elseif self.outbox:count() == 0 and (self.record or #self.opened_callbacks == 0) then
    return self:say_idle()
  end
  self.busy = true
  if self:is_open() then
    self:send()
  else
    self:open()
  end
end

--- The same, without waiting for the next try.
function Conversation:try_now()
  self:stop_retry()
  self:flush()
end

---@private
function Conversation:stop_retry()
  if self.retry and not self.retry:is_closing() then
    self.retry:close()
  end
  self.retry = nil
end

---@private
function Conversation:go_on()
  self.busy = false
  self.registry.changed()
  self:flush()
end

---@private
function Conversation:say_idle()
  local callbacks = self.idle_callbacks
  self.idle_callbacks = {}
  for _, callback in ipairs(callbacks) do
    callback()
  end
end

--- Keep it no more; another may go on in its name, with what was waiting here.
---@param heir? segue.Conversation
function Conversation:drop(heir)
  self.dropped = true
  self:stop_retry()
  if heir then
    heir.outbox:put_all_of(self.outbox)
    vim.list_extend(heir.idle_callbacks, self.idle_callbacks)
  end
  self.registry.drop(self, heir)
end

---@private
function Conversation:open()
  local function opened(err, result)
    if self.dropped then
      return
    elseif err then
      return self:on_open_failed(err)
    end
    self:take(result)
    if not self.dropped then
      self:go_on()
    end
  end
  if self.record then
    self:open_again(opened)
  else
    self:opening(opened)
  end
end

---@private
---@param done segue.Opened
function Conversation:open_again(done)
  opening.again(self.workspace, self.record.id, function(err, result)
    if not err or err.kind ~= "SessionNotFound" then
      return done(err, result)
    end
    if self.head then
      local message = "the conversation %s was deleted elsewhere; it goes on as a new one"
      self:say("deleted", message:format(self:name()), vim.log.levels.WARN)
    end
    self:open_anew(done)
  end)
end

--- The session that was open is no more: what is said from here on is one of its own.
---@param done segue.Opened
function Conversation:open_anew(done)
  opening.anew(self.workspace, function(err, result)
    if not err then
      self.head, self.seen = nil, 0
    end
    done(err, result)
  end)
end

---@private
---@param err segue.Error
function Conversation:on_open_failed(err)
  if #self.opened_callbacks == 0 then
    return self:on_trouble(err)
  end
  self:drop(self.fallback)
  for _, callback in ipairs(self.opened_callbacks) do
    callback(err)
  end
  if self.fallback then
    self.fallback:flush()
  end
end

--- Go on with the session that the server opened.
---@param result table
function Conversation:take(result)
  local session = records.session_info(result.session)
  local twin = self.registry.claim(self, session.id)
  if twin then
    return self:give_way(twin, result)
  end

  local is_first = not self.record
  local old_id = self.record and self.record.id
  if old_id ~= session.id or (self.outbox:count() == 0 and not self.busy) then
    self.head, self.seen = session.head, session.event_count
  end
  self.generation = server.generation()
  self.record = self.record or {}
  records.update(self.record, session, result)

  if old_id and old_id ~= session.id then
    listeners.tell("moved", self.record, { from = old_id })
  end
  if is_first and result.resumed then
    local count = text.count(session.event_count, "event")
    config.notify(("resumed %s, %s"):format(self:name(), count))
    listeners.tell("resumed", self.record, { reason = result.reason })
  end
  self:say_opened()
end

-- Two openings led to one session: the first keeps it, and gets what was waiting here.
---@private
---@param twin segue.Conversation
---@param result table
function Conversation:give_way(twin, result)
  vim.list_extend(twin.opened_callbacks, self.opened_callbacks)
  self:drop(twin)
  twin:take(result)
  twin:flush()
end

---@private
function Conversation:say_opened()
  local callbacks = self.opened_callbacks
  self.opened_callbacks = {}
  self.registry.changed()
  for _, callback in ipairs(callbacks) do
    callback(nil, self.record)
  end
end

---@private
function Conversation:send()
  self.outbox:send(self.record.id, self.head, function(batch, err, result)
    if not self.dropped then
      self:on_answer(batch, err, result)
    end
  end)
end

--- Neovim ends.
function Conversation:send_the_rest()
  if self:is_open() and (not self.busy or self.outbox:is_in_flight()) then
    self.outbox:send_the_rest(self.record.id, self.head)
  end
end

---@private
---@param batch segue.Unsent[]
---@param err? segue.Error
---@param result? table
function Conversation:on_answer(batch, err, result)
  if not err then
    self:on_stored(batch, assert(result))
  elseif err.kind == "HeadMoved" then
    self:part_ways()
  elseif err.kind == "SessionArchived" then
    self:unarchive()
  elseif err.kind == "SessionNotOpen" or err.kind == "SessionNotFound" then
    self.generation = nil
    self:go_on()
  elseif err.kind == "EventConflict" then
    local reasons = { [err.data.eventId] = "its id is taken by another event" }
    self.outbox:refuse(batch, self.record.id, reasons)
    self:go_on()
  elseif err.code == -32602 then
    self.outbox:refuse_invalid(batch, self.record.id, err)
    self:go_on()
  else
    self:on_trouble(err)
  end
end

---@private
---@param batch segue.Unsent[]
---@param result table
function Conversation:on_stored(batch, result)
  local record = self.record
  local stored = self.outbox:stored(batch, record.id, result.events)
  self.head = stored[#stored].id
  self.told.trouble = nil
  for _, event in ipairs(stored) do
    self.seen = math.max(self.seen, event.seq)
    if not record.title and event.type == "user_message" then
      local line = vim.trim(event.data.content):match("^[^\r\n]*")
      record.title = vim.fn.strcharpart(line, 0, 80)
    end
  end
  record.event_count = result.eventCount
  listeners.tell("appended", record, stored)
  self:go_on()
end

---@private
function Conversation:unarchive()
  server.request("session/unarchive", { sessionId = self.record.id }, function(err)
    if self.dropped then
      return
    elseif err and err.kind ~= "SessionNotFound" then
      return self:on_trouble(err)
    end
    if not err then
      local message = "the archived conversation %s came back: you went on with it"
      self:say("archived", message:format(self:name()), vim.log.levels.INFO)
    end
    self:go_on()
  end)
end

-- Another window went on with this session. Both conversations stay whole: this window continues
-- in a session of its own, which begins with everything that it had seen.
---@private
function Conversation:part_ways()
  local old_id = self.record.id
  copying.copies(old_id, self.seen, self:unless_trouble(function(copies)
    self:open_anew(self:unless_trouble(function(result)
      local message = "another window went on with %s; this one continues in a copy of its own"
      self:say("moved" .. old_id, message:format(self:name()), vim.log.levels.WARN)
      self:take(result)
      self.outbox:put_before(copies)
      self:go_on()
    end))
  end))
end

---@private
---@param callback fun(result: any)
---@return fun(err?: segue.Error, result?: any)
function Conversation:unless_trouble(callback)
  return function(err, result)
    if self.dropped then
      return
    elseif err then
      return self:on_trouble(err)
    end
    callback(result)
  end
end

-- Nothing is lost: it is kept here, and tried again with the next append and every ten seconds.
---@private
---@param err segue.Error
function Conversation:on_trouble(err)
  self.busy = false
  if err.kind == "ServerGone" then
    return self:flush()
  elseif err.kind == "ServerStopped" then
    return
  elseif err.kind ~= "ServerNotFound" then
    local message = "%s waits here to be stored, and is tried again: %s"
    local waiting = text.count(self.outbox:count(), "event")
    self:say("trouble", message:format(waiting, err.message), vim.log.levels.ERROR)
  end
  self.retry = self.retry or vim.defer_fn(function()
    self:try_now()
  end, RETRY_MS)
end

return Conversation
