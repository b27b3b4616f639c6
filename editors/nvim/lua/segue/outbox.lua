--- The queue of a conversation's events that are not stored yet. The rules are those of the
--- server's PROTOCOL.md: "Coming back after the server is gone", "When something cannot be stored".

local config = require("segue.config")
local format = require("segue.format")
local json = require("segue.json")
local messages = require("segue.messages")
local server = require("segue.server")
local text = require("segue.text")
local uuid = require("segue.uuid")

-- Calls that wait together share a request, up to these limits.
local MAX_BATCH_EVENTS = 200
local MAX_BATCH_BYTES = 4 * 1024 * 1024

local MAX_KEPT_BYTES = 128 * 1024 * 1024
local MAX_KEPT_EVENTS = 100000

local MAX_NAME_CHARACTERS = 200

local INVALID_PARAMS = -32602
local REQUEST_FAILED = -32803

---@class segue.EventPosition
---@field id string
---@field seq integer

---@class segue.QueuedEvent
---@field id string
---@field type string
---@field json string The event as JSON

---@class segue.Origin Who answers
---@field agent? string
---@field model? string

---@class segue.OutboxCall The events of one call of `append`: they are stored together or not at all
---@field events segue.QueuedEvent[]
---@field bytes integer Of their JSON
---@field origin segue.Origin
---@field since integer Seconds since 1970
---@field callback? fun(err?: segue.Error, result?: segue.AppendResult)

---@class segue.Outbox
---@field private calls segue.OutboxCall[]
---@field private in_flight integer How many calls at the front of the queue were sent
---@field private single_calls integer How many calls at the front are sent one by one: one of them was refused
local Outbox = {}
Outbox.__index = Outbox

-- Of all outboxes of this Neovim.
local kept_bytes, kept_events = 0, 0
local full_notified = false

--- A new, empty outbox.
---@return segue.Outbox
function Outbox.new()
  return setmetatable({ calls = {}, in_flight = 0, single_calls = 0 }, Outbox)
end

---@param event any
---@return segue.QueuedEvent? queued, string? fault
local function encode_event(event)
  if type(event) ~= "table" then
    return nil, ": expected a table"
  elseif type(event.type) ~= "string" then
    return nil, ".type: expected a string"
  elseif type(event.data) ~= "table" or (event.data[1] ~= nil and vim.islist(event.data)) then
    return nil, ".data: expected a table with names"
  elseif event.id ~= nil and type(event.id) ~= "string" then
    return nil, ".id: expected a string"
  end
  local id, type_name = event.id and json.to_utf8(event.id) or uuid.v7(), json.to_utf8(event.type)
  local is_empty = next(event.data) == nil
  local data, fault = json.encode(is_empty and vim.empty_dict() or event.data)
  if not data then
    return nil, ".data" .. fault
  end
  local envelope = ('{"id":%s,"type":%s,"data":'):format(json.encode(id), json.encode(type_name))
  return { id = id, type = type_name, json = envelope .. data .. "}" }
end

---@param events segue.QueuedEvent[]
---@return integer
local function total_bytes(events)
  local bytes = 0
  for _, event in ipairs(events) do
    bytes = bytes + #event.json + 1
  end
  return bytes
end

---@param message string
---@return segue.Error
local function invalid(message)
  return { code = INVALID_PARAMS, message = message, data = {} }
end

---@param events any
---@return segue.QueuedEvent[]? encoded, segue.Error? err
local function encode_events(events)
  if type(events) ~= "table" then
    return nil, invalid("events: expected an event or a list of events")
  end
  local encoded, bytes = {}, 0
  for index, event in ipairs(vim.islist(events) and events or { events }) do
    -- Reading the fields of a table with a metatable may raise an error.
    local ok, queued, fault = pcall(encode_event, event)
    if not ok or not queued then
      return nil, invalid(("events[%d]%s"):format(index - 1, ok and fault or ": " .. queued))
    end
    bytes = bytes + #queued.json + 1
    if bytes > json.MAX_BYTES then
      local mebibytes = json.MAX_BYTES / 1024 / 1024
      return nil, invalid(("events[%d]: larger than %d MiB"):format(index - 1, mebibytes))
    end
    table.insert(encoded, queued)
  end
  return encoded
end

---@return segue.Error
local function full()
  local message = "this Neovim keeps at most %d MiB and %s that are not stored yet"
  return {
    code = REQUEST_FAILED,
    kind = "OutboxFull",
    message = message:format(
      MAX_KEPT_BYTES / 1024 / 1024,
      format.count(MAX_KEPT_EVENTS, "event")
    ),
    data = {},
  }
end

-- One line, as the server accepts it; nil if there is nothing in it.
---@param name any
---@return string?
local function to_name(name)
  local line = type(name) == "string" and text.one_line(name) or ""
  return line ~= "" and vim.fn.strcharpart(line, 0, MAX_NAME_CHARACTERS) or nil
end

--- Encode the events of one call, and give an id to those that have none. Returns nil and an error
--- if one of them can never be stored, or too much waits already.
---@param events segue.NewEvent|segue.NewEvent[]
---@param origin segue.Origin
---@param callback? fun(err?: segue.Error, result?: segue.AppendResult)
---@return segue.OutboxCall? call, segue.Error? err
function Outbox.prepare(events, origin, callback)
  local encoded, err = encode_events(events)
  if not encoded then
    return nil, err
  end
  local bytes = total_bytes(encoded)
  if kept_bytes + bytes > MAX_KEPT_BYTES or kept_events + #encoded > MAX_KEPT_EVENTS then
    return nil, full()
  end
  return {
    events = encoded,
    bytes = bytes,
    origin = { agent = to_name(origin.agent), model = to_name(origin.model) },
    since = os.time(),
    callback = callback,
  }
end

--- Whether the user should be notified of an error of `prepare`: of a full outbox only once, until
--- something was stored.
---@param err segue.Error
---@return boolean
function Outbox.should_notify(err)
  local repeated = err.kind == "OutboxFull" and full_notified
  full_notified = full_notified or err.kind == "OutboxFull"
  return not repeated
end

--- How many events are not stored yet, those in flight included.
---@return integer
function Outbox:count()
  local count = 0
  for _, call in ipairs(self.calls) do
    count = count + #call.events
  end
  return count
end

--- When the oldest event that is not stored yet was appended, in seconds since 1970.
---@return integer?
function Outbox:since()
  return self.calls[1] and self.calls[1].since
end

--- Whether a batch was sent and is not answered yet.
---@return boolean
function Outbox:is_in_flight()
  return self.in_flight > 0
end

--- Add a call at the end. Its callback runs once: when its events are stored, or refused.
---@param call segue.OutboxCall
function Outbox:add(call)
  table.insert(self.calls, call)
  kept_bytes, kept_events = kept_bytes + call.bytes, kept_events + #call.events
end

--- Move everything that waits in another outbox to the end of this one.
---@param other segue.Outbox
function Outbox:take_from(other)
  vim.list_extend(self.calls, other.calls)
  other.calls = {}
end

---@private
---@param first integer
---@return segue.OutboxCall[]
function Outbox:batch_from(first)
  local batch, count, bytes = {}, 0, 0
  for index = first, #self.calls do
    local call = self.calls[index]
    count, bytes = count + #call.events, bytes + call.bytes
    local is_apart = first <= self.single_calls or not vim.deep_equal(call.origin, self.calls[first].origin)
    if index > first and (is_apart or count > MAX_BATCH_EVENTS or bytes > MAX_BATCH_BYTES) then
      break
    end
    table.insert(batch, call)
  end
  return batch
end

---@param batch segue.OutboxCall[]
---@return segue.QueuedEvent[]
local function events_of(batch)
  return vim.iter(batch):map(function(call)
    return call.events
  end):flatten(1):totable()
end

---@param session_id string
---@param parent_id? string|vim.NIL nil: what the server's window last saw
---@param batch segue.OutboxCall[]
---@param callback fun(err?: segue.Error, result?: table)
local function request_append(session_id, parent_id, batch, callback)
  local parts = { '{"sessionId":', (assert(json.encode(session_id))) }
  if parent_id then
    vim.list_extend(parts, { ',"parentId":', (assert(json.encode(parent_id))) })
  end
  for name, value in pairs(batch[1].origin) do
    vim.list_extend(parts, { (',"%s":'):format(name), (assert(json.encode(value))) })
  end
  table.insert(parts, ',"events":[')
  for index, event in ipairs(events_of(batch)) do
    vim.list_extend(parts, { index > 1 and "," or "", event.json })
  end
  table.insert(parts, "]}")
  server.request("session/append", require("segue.rpc").encoded(table.concat(parts)), callback)
end

--- Send the next batch. Its events stay in the queue until `acknowledge` or `refuse` removes them.
---@param session_id string
---@param head? string
---@param callback fun(batch: segue.OutboxCall[], err?: segue.Error, result?: table)
function Outbox:send(session_id, head, callback)
  local batch = self:batch_from(1)
  self.in_flight = #batch
  request_append(session_id, head or vim.NIL, batch, function(err, result)
    self.in_flight = 0
    callback(batch, err, result)
  end)
end

--- Send everything that was not sent, without waiting for responses. Each batch follows what the
--- server stored last, so one that is refused does not prevent those after it.
---@param session_id string
function Outbox:send_remaining(session_id)
  local first = self.in_flight + 1
  while first <= #self.calls do
    local batch = self:batch_from(first)
    request_append(session_id, nil, batch, function() end)
    first = first + #batch
  end
end

---@param call segue.OutboxCall
---@param err? segue.Error
---@param result? segue.AppendResult
local function settle(call, err, result)
  kept_bytes, kept_events = kept_bytes - call.bytes, kept_events - #call.events
  full_notified = full_notified and err ~= nil
  if call.callback then
    vim.schedule(function()
      messages.protect("a callback of append", call.callback, err, result)
    end)
  end
end

---@private
---@param count integer
function Outbox:remove_first(count)
  self.calls = vim.list_slice(self.calls, count + 1)
  self.single_calls = math.max(0, self.single_calls - count)
end

--- Remove a batch that was stored, and return its events with their positions.
---@param batch segue.OutboxCall[] as `send` gave it to its callback
---@param session_id string
---@param positions segue.EventPosition[]
---@return { id: string, seq: integer, type: string, json: string }[] stored
function Outbox:acknowledge(batch, session_id, positions)
  self:remove_first(#batch)
  local seqs, stored = {}, {}
  for _, position in ipairs(positions) do
    seqs[position.id] = position.seq
  end
  for _, call in ipairs(batch) do
    local result = { session_id = session_id, events = {} }
    for _, event in ipairs(call.events) do
      local seq = seqs[event.id]
      table.insert(result.events, { id = event.id, seq = seq })
      table.insert(stored, { id = event.id, seq = seq, type = event.type, json = event.json })
    end
    settle(call, nil, result)
  end
  return stored
end

-- An InvalidParams error names the fields that are wrong.
---@param err segue.Error
---@return string
local function reason(err)
  local fault = err.data and err.data.errors and err.data.errors[1]
  if not fault then
    return err.message
  end
  return ("%s: %s"):format(tostring(fault.path):gsub("^%$%.?", ""), fault.message)
end

--- Remove a call that the server refused, and notify the user and its callback. Of a batch of
--- several calls nothing is removed: they are sent again one by one.
---@param batch segue.OutboxCall[]
---@param err segue.Error
function Outbox:refuse(batch, err)
  if #batch > 1 then
    self.single_calls = #batch
    return
  end
  self:remove_first(1)
  local told = vim.tbl_extend("force", err, { message = reason(err) })
  local events = batch[1].events
  local what = #events == 1 and ("the event %s (%s)"):format(events[1].id, events[1].type)
    or format.count(#events, "event")
  config.notify(("%s cannot be stored: %s"):format(what, told.message), vim.log.levels.ERROR)
  settle(batch[1], told)
end

--- Remove everything, and tell each callback why.
---@param err segue.Error
---@return integer count of the events that were dropped
function Outbox:drop(err)
  local count, calls = self:count(), self.calls
  self.calls, self.single_calls = {}, 0
  for _, call in ipairs(calls) do
    settle(call, err)
  end
  return count
end

return Outbox
