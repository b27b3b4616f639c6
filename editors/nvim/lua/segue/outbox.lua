--- The queue of a conversation's events that are not stored yet.

local config = require("segue.config")
local json = require("segue.json")
local server = require("segue.server")
local uuid = require("segue.uuid")

local MAX_BATCH_EVENTS = 200
local MAX_BATCH_BYTES = 4 * 1024 * 1024
local MAX_EVENT_BYTES = 60 * 1024 * 1024

-- An ASCII control character takes six bytes in JSON: `\u0001`.
local MAX_JSON_EXPANSION = 6

---@class segue.EventPosition
---@field id string
---@field seq integer

---@class segue.AppendCall One call of `append`, until all its events are stored or one is rejected
---@field remaining integer How many of its events are neither stored nor rejected
---@field positions segue.EventPosition[]
---@field callback? fun(err?: segue.Error, result?: segue.AppendResult)

---@class segue.PendingEvent
---@field event { id: string, type: string, data: table }
---@field size integer Approximate, in bytes
---@field call? segue.AppendCall nil for copies made after a conflict

---@class segue.Outbox
---@field private queue segue.PendingEvent[]
---@field private max_batch_events integer
---@field private in_flight integer How many events at the front of the queue were sent
local Outbox = {}
Outbox.__index = Outbox

--- A new, empty outbox.
---@return segue.Outbox
function Outbox.new()
  return setmetatable({ queue = {}, max_batch_events = MAX_BATCH_EVENTS, in_flight = 0 }, Outbox)
end

---@param event any
---@return string? fault
local function validate(event)
  if type(event) ~= "table" or type(event.type) ~= "string" then
    return ".type: expected a string"
  elseif type(event.data) ~= "table" or (event.data[1] ~= nil and vim.islist(event.data)) then
    return ".data: expected a table with names"
  elseif event.id ~= nil and type(event.id) ~= "string" then
    return ".id: expected a string"
  end
end

---@param event any
---@return segue.PendingEvent? pending, string? fault
local function prepare_one(event)
  local fault = validate(event)
  if fault then
    return nil, fault
  end
  local data, size = json.copy(event.data)
  if not data then
    return nil, ".data: " .. size
  elseif next(data) == nil then
    data = vim.empty_dict()
  end
  local copy = {
    id = event.id and json.to_utf8(event.id) or uuid.v7(),
    type = json.to_utf8(event.type),
    data = data,
  }
  if size * MAX_JSON_EXPANSION > MAX_EVENT_BYTES and #vim.json.encode(copy) > MAX_EVENT_BYTES then
    return nil, (": larger than %d MiB"):format(MAX_EVENT_BYTES / 1024 / 1024)
  end
  return { event = copy, size = size }
end

--- Copy and validate events that are to be appended, and give an id to those that have none.
--- Returns nil and the first fault if one of them can never be stored.
---@param events segue.NewEvent|segue.NewEvent[]
---@return segue.PendingEvent[]? pending, string? fault
function Outbox.prepare(events)
  local prepared = {}
  for index, event in ipairs(vim.islist(events) and events or { events }) do
    local pending, fault = prepare_one(event)
    if not pending then
      return nil, ("events[%d]%s"):format(index, fault)
    end
    table.insert(prepared, pending)
  end
  return prepared
end

--- How many events are not stored yet, those in flight included.
---@return integer
function Outbox:count()
  return #self.queue
end

--- Whether a batch was sent and is not answered yet.
---@return boolean
function Outbox:is_in_flight()
  return self.in_flight > 0
end

--- Add the events of one call of `append` at the end. The callback runs once: when all of them are
--- stored, or when one is rejected.
---@param events segue.PendingEvent[]
---@param callback? fun(err?: segue.Error, result?: segue.AppendResult)
---@return string[] ids
function Outbox:add(events, callback)
  local call = { remaining = #events, positions = {}, callback = callback }
  local ids = {}
  for _, pending in ipairs(events) do
    pending.call = call
    table.insert(self.queue, pending)
    table.insert(ids, pending.event.id)
  end
  return ids
end

--- Put events in front of everything that waits. Only while nothing is in flight.
---@param events segue.PendingEvent[]
function Outbox:prepend(events)
  self.queue = vim.list_extend(events, self.queue)
end

--- Add everything that waits in another outbox at the end, in its order.
---@param other segue.Outbox
function Outbox:add_all_from(other)
  vim.list_extend(self.queue, other.queue)
end

---@private
---@return segue.PendingEvent[]
function Outbox:next_batch()
  local batch, bytes = {}, 0
  for index = 1, math.min(#self.queue, self.max_batch_events) do
    local pending = self.queue[index]
    bytes = bytes + pending.size
    if index > 1 and bytes > MAX_BATCH_BYTES then
      break
    end
    batch[index] = pending
  end
  return batch
end

---@param session_id string
---@param parent_id? string
---@param batch segue.PendingEvent[]
---@param callback fun(err?: segue.Error, result?: table)
local function request_append(session_id, parent_id, batch, callback)
  server.request("session/append", {
    sessionId = session_id,
    parentId = parent_id or vim.NIL,
    events = vim.tbl_map(function(pending)
      return pending.event
    end, batch),
  }, callback)
end

--- Send the next batch. Its events stay in the queue until `acknowledge` or `reject` removes them.
---@param session_id string
---@param head? string
---@param callback fun(batch: segue.PendingEvent[], err?: segue.Error, result?: table)
function Outbox:send(session_id, head, callback)
  local batch = self:next_batch()
  self.in_flight = #batch
  request_append(session_id, head, batch, function(err, result)
    self.in_flight = 0
    callback(batch, err, result)
  end)
end

--- Send everything that was not sent, without waiting for responses. Each batch names the last
--- event of the one before it as its parent, so if one fails, those after it fail too.
---@param session_id string
---@param head? string
function Outbox:send_remaining(session_id, head)
  local last_sent = self.queue[self.in_flight]
  local parent_id = last_sent and last_sent.event.id or head
  for first = self.in_flight + 1, #self.queue, MAX_BATCH_EVENTS do
    local batch = vim.list_slice(self.queue, first, first + MAX_BATCH_EVENTS - 1)
    request_append(session_id, parent_id, batch, function() end)
    parent_id = batch[#batch].event.id
  end
end

---@param pending segue.PendingEvent
---@param session_id string
---@param seq? integer
---@param err? segue.Error
local function settle(pending, session_id, seq, err)
  local call = pending.call
  if not call or call.remaining == 0 then
    return
  end
  call.remaining = err and 0 or call.remaining - 1
  table.insert(call.positions, { id = pending.event.id, seq = seq })
  if call.remaining == 0 and call.callback then
    local result = not err and { session_id = session_id, events = call.positions } or nil
    vim.schedule(function()
      call.callback(err, result)
    end)
  end
end

--- Remove a batch that was stored, and return its events with their positions.
---@param batch segue.PendingEvent[] as `send` gave it to its callback
---@param session_id string
---@param positions segue.EventPosition[]
---@return { id: string, seq: integer, type: string, data: table }[] stored
function Outbox:acknowledge(batch, session_id, positions)
  self.queue = vim.list_slice(self.queue, #batch + 1)
  self.max_batch_events = MAX_BATCH_EVENTS
  local seqs, stored = {}, {}
  for _, position in ipairs(positions) do
    seqs[position.id] = position.seq
  end
  for _, pending in ipairs(batch) do
    local event = pending.event
    local seq = seqs[event.id]
    table.insert(stored, { id = event.id, seq = seq, type = event.type, data = event.data })
    settle(pending, session_id, seq)
  end
  return stored
end

--- Remove the events of a batch that can never be stored, notify the user of each, and fail the
--- calls that they belong to.
---@param batch segue.PendingEvent[]
---@param session_id string
---@param reasons table<string, string> by event id
function Outbox:reject(batch, session_id, reasons)
  self.queue = vim.tbl_filter(function(pending)
    local event = pending.event
    local reason = reasons[event.id]
    if not reason or not vim.list_contains(batch, pending) then
      return true
    end
    local message = ("the event %s (%s) cannot be stored: %s"):format(event.id, event.type, reason)
    config.notify(message, vim.log.levels.ERROR)
    settle(pending, session_id, nil, { code = -32602, message = message })
    return false
  end, self.queue)
end

--- Reject the events that an InvalidParams error names. If it names none, send single events until
--- one is stored, which finds the invalid one.
---@param batch segue.PendingEvent[]
---@param session_id string
---@param err segue.Error
function Outbox:reject_invalid(batch, session_id, err)
  local reasons = {}
  for _, fault in ipairs(err.data.errors or {}) do
    local index, path = tostring(fault.path):match("^%$%.events%[(%d+)%]%.?(.*)$")
    local pending = index and batch[tonumber(index) + 1]
    if pending then
      reasons[pending.event.id] = vim.trim(path .. " " .. fault.message)
    end
  end
  if not next(reasons) and #batch == 1 then
    reasons[batch[1].event.id] = err.message
  end
  if next(reasons) then
    self:reject(batch, session_id, reasons)
  else
    self.max_batch_events = 1
  end
end

return Outbox
