--- What is not stored yet: the events that wait, in their order, and who wants to know of them.

local config = require("segue.config")
local server = require("segue.server")
local text = require("segue.text")

local BATCH_EVENTS = 200
local BATCH_BYTES = 4 * 1024 * 1024
local FRAME_BYTES = 60 * 1024 * 1024

---@class segue.Append One call of `append`, until all of it is stored
---@field left integer
---@field placed { id: string, seq: integer }[]
---@field callback? fun(err?: segue.Error, result?: table)

---@class segue.Unsent
---@field event { id: string, type: string, data: table }
---@field size integer
---@field append? segue.Append

---@class segue.Outbox
---@field private waiting segue.Unsent[]
---@field private limit integer How many may go at once
---@field private in_flight integer How many of them, from the first on, were sent
local Outbox = {}
Outbox.__index = Outbox

---@return segue.Outbox
function Outbox.new()
  return setmetatable({ waiting = {}, limit = BATCH_EVENTS, in_flight = 0 }, Outbox)
end

---@param event any
---@return string? fault
local function misshapen(event)
  if type(event) ~= "table" or type(event.type) ~= "string" then
    return ".type: expected a string"
  elseif type(event.data) ~= "table" or (event.data[1] ~= nil and vim.islist(event.data)) then
    return ".data: expected a table with names"
  elseif event.id ~= nil and type(event.id) ~= "string" then
    return ".id: expected a string"
  end
end

---@param event any
---@return segue.Unsent? unsent, string? fault
local function packed(event)
  local fault = misshapen(event)
  if fault then
    return nil, fault
  end
  local data, size = text.copy(event.data)
  if not data then
    return nil, ".data: " .. size
  elseif next(data) == nil then
    data = vim.empty_dict()
  end
  local copy = {
    id = event.id and text.clean(event.id) or text.event_id(),
    type = text.clean(event.type),
    data = data,
  }
  -- JSON spells a control character with six.
  if size * 6 > FRAME_BYTES and #vim.json.encode(copy) > FRAME_BYTES then
    return nil, (": larger than %d MiB"):format(FRAME_BYTES / 1024 / 1024)
  end
  return { event = copy, size = size }
end

--- Copies of the events that somebody wants to append; or nil and why they cannot be.
---@param events segue.NewEvent|segue.NewEvent[]
---@return segue.Unsent[]? unsent, string? fault
function Outbox.checked(events)
  local unsent = {}
  for place, event in ipairs(vim.islist(events) and events or { events }) do
    local one, fault = packed(event)
    if not one then
      return nil, ("events[%d]%s"):format(place, fault)
    end
    table.insert(unsent, one)
  end
  return unsent
end

---@return integer
function Outbox:count()
  return #self.waiting
end

---@return boolean
function Outbox:is_in_flight()
  return self.in_flight > 0
end

---@param unsent segue.Unsent[] of one call
---@param callback? fun(err?: segue.Error, result?: table)
---@return string[] ids
function Outbox:put(unsent, callback)
  local append = { left = #unsent, placed = {}, callback = callback }
  local ids = {}
  for _, one in ipairs(unsent) do
    one.append = append
    table.insert(self.waiting, one)
    table.insert(ids, one.event.id)
  end
  return ids
end

---@param unsent segue.Unsent[]
function Outbox:put_before(unsent)
  self.waiting = vim.list_extend(unsent, self.waiting)
end

---@param other segue.Outbox
function Outbox:put_all_of(other)
  vim.list_extend(self.waiting, other.waiting)
end

-- The first ones, as many as may go at once.
---@private
---@return segue.Unsent[]
function Outbox:batch()
  local batch, bytes = {}, 0
  for place = 1, math.min(#self.waiting, self.limit) do
    local unsent = self.waiting[place]
    bytes = bytes + unsent.size
    if place > 1 and bytes > BATCH_BYTES then
      break
    end
    batch[place] = unsent
  end
  return batch
end

---@param session_id string
---@param parent? string
---@param batch segue.Unsent[]
---@param callback fun(err?: segue.Error, result?: table)
local function request(session_id, parent, batch, callback)
  server.request("session/append", {
    sessionId = session_id,
    parentId = parent or vim.NIL,
    events = vim.tbl_map(function(unsent)
      return unsent.event
    end, batch),
  }, callback)
end

---@param session_id string
---@param head? string
---@param callback fun(batch: segue.Unsent[], err?: segue.Error, result?: table)
function Outbox:send(session_id, head, callback)
  local batch = self:batch()
  self.in_flight = #batch
  request(session_id, head, batch, function(err, result)
    self.in_flight = 0
    callback(batch, err, result)
  end)
end

--- Send everything that was not sent, and wait for no answer. Every id is known, so each batch can
--- name the one before it: if one fails, the next cannot take its place.
---@param session_id string
---@param head? string
function Outbox:send_the_rest(session_id, head)
  local last = self.waiting[self.in_flight]
  local parent = last and last.event.id or head
  for from = self.in_flight + 1, #self.waiting, BATCH_EVENTS do
    local batch = vim.list_slice(self.waiting, from, from + BATCH_EVENTS - 1)
    request(session_id, parent, batch, function() end)
    parent = batch[#batch].event.id
  end
end

---@param unsent segue.Unsent
---@param session_id string
---@param seq? integer
---@param err? segue.Error
local function settle(unsent, session_id, seq, err)
  local append = unsent.append
  if not append or append.left == 0 then
    return
  end
  append.left = err and 0 or append.left - 1
  table.insert(append.placed, { id = unsent.event.id, seq = seq })
  if append.left == 0 and append.callback then
    local result = not err and { session_id = session_id, events = append.placed } or nil
    vim.schedule(function()
      append.callback(err, result)
    end)
  end
end

---@param batch segue.Unsent[] as it was sent
---@param session_id string
---@param placed { id: string, seq: integer }[]
---@return { id: string, seq: integer, type: string, data: table }[] stored
function Outbox:stored(batch, session_id, placed)
  self.waiting = vim.list_slice(self.waiting, #batch + 1)
  self.limit = BATCH_EVENTS
  local seqs, stored = {}, {}
  for _, place in ipairs(placed) do
    seqs[place.id] = place.seq
  end
  for _, unsent in ipairs(batch) do
    local event = unsent.event
    local seq = seqs[event.id]
    table.insert(stored, { id = event.id, seq = seq, type = event.type, data = event.data })
    settle(unsent, session_id, seq)
  end
  return stored
end

--- Take out the events that the server will never take.
---@param batch segue.Unsent[]
---@param session_id string
---@param reasons table<string, string> by event id
function Outbox:refuse(batch, session_id, reasons)
  self.waiting = vim.tbl_filter(function(unsent)
    local event = unsent.event
    local reason = reasons[event.id]
    if not reason or not vim.list_contains(batch, unsent) then
      return true
    end
    local message = ("the event %s (%s) cannot be stored: %s"):format(event.id, event.type, reason)
    config.notify(message, vim.log.levels.ERROR)
    settle(unsent, session_id, nil, { code = -32602, message = message })
    return false
  end, self.waiting)
end

--- Take out what the server calls invalid. If it does not say which they are, they go one by one
--- until one is stored.
---@param batch segue.Unsent[]
---@param session_id string
---@param err segue.Error
function Outbox:refuse_invalid(batch, session_id, err)
  local reasons = {}
  for _, found in ipairs(err.data.errors or {}) do
    local place, path = tostring(found.path):match("^%$%.events%[(%d+)%]%.?(.*)$")
    local unsent = place and batch[tonumber(place) + 1]
    if unsent then
      reasons[unsent.event.id] = vim.trim(path .. " " .. found.message)
    end
  end
  if not next(reasons) and #batch == 1 then
    reasons[batch[1].event.id] = err.message
  end
  if next(reasons) then
    self:refuse(batch, session_id, reasons)
  else
    self.limit = 1
  end
end

return Outbox
