--- What an agent (ACP) does during one turn: what it says, between its tool calls, and these.

local streamed_text = require("segue.streamed_text")

local M = {}

---@class segue.AgentTurn
---@field private on_events fun(events: segue.NewEvent[])
---@field private text string Everything that the agent has said
---@field private said segue.StreamedText What it has said since the last tool call
---@field private calls table<string, table> Tool calls without a result, merged from their updates, by id
---@field private order string[] Their ids in the order in which they came
---@field private announced table<string, true> Calls that were handed over
local AgentTurn = {}
AgentTurn.__index = AgentTurn

---@param block any a ContentBlock of ACP
---@return string?
local function block_text(block)
  if type(block) ~= "table" then
    return nil
  elseif block.type == "text" and type(block.text) == "string" then
    return block.text
  elseif block.type == "resource" and type(block.resource) == "table" then
    local resource = block.resource
    return type(resource.text) == "string" and resource.text or "[" .. tostring(resource.uri) .. "]"
  end
  return ("[%s]"):format(tostring(block.uri or block.type))
end

---@param item any a ToolCallContent of ACP
---@return string?
local function item_text(item)
  if type(item) ~= "table" then
    return nil
  elseif item.type == "diff" then
    local old = type(item.oldText) == "string" and item.oldText or ""
    local diff = vim.diff(old, tostring(item.newText or ""), { ctxlen = 3 })
    return ("--- %s\n%s"):format(tostring(item.path), diff)
  elseif item.type == "terminal" then
    return ("[terminal %s]"):format(tostring(item.terminalId))
  end
  return block_text(item.content)
end

---@param call table
---@return string
local function result_text(call)
  local parts = {}
  for _, item in ipairs(type(call.content) == "table" and call.content or {}) do
    table.insert(parts, item_text(item))
  end
  if #parts == 0 and call.rawOutput ~= nil then
    local output = call.rawOutput
    return type(output) == "string" and output or vim.json.encode(output)
  end
  return table.concat(parts, "\n")
end

---@param call table
---@return string
local function name_of(call)
  local meta = type(call._meta) == "table" and call._meta or {}
  local claude = type(meta.claudeCode) == "table" and meta.claudeCode or {}
  for _, name in ipairs({ call.name or false, claude.toolName or false, meta.toolName or false }) do
    if type(name) == "string" then
      return name
    end
  end
  return type(call.kind) == "string" and call.kind or "other"
end

---@param call table
---@return table data of a `tool_call`
local function call_data(call)
  local acp = { title = call.title, kind = call.kind, locations = call.locations }
  local input = call.rawInput
  if input == nil then
    input = vim.empty_dict()
  end
  return { id = call.toolCallId, name = name_of(call), input = input, acp = acp }
end

---@private
function AgentTurn:begin_text()
  self.said = streamed_text.new(function(piece)
    self.on_events({ piece })
  end)
end

---@private
---@param event segue.NewEvent
function AgentTurn:hand_over(event)
  local rest = self.said:finish()
  self:begin_text()
  self.on_events(vim.list_extend({ rest }, { event }))
end

---@private
---@param id string
function AgentTurn:announce(id)
  if not self.announced[id] then
    self.announced[id] = true
    self:hand_over({ type = "tool_call", data = call_data(self.calls[id]) })
  end
end

---@private
---@param id string
function AgentTurn:complete(id)
  local call = self.calls[id]
  self.calls[id] = nil
  self:hand_over({
    type = "tool_result",
    data = {
      tool_use_id = id,
      content = result_text(call),
      is_error = call.status == "failed",
    },
  })
end

---@private
---@param update table `tool_call` or `tool_call_update` of ACP
function AgentTurn:on_update(update)
  local id = update.toolCallId
  if type(id) ~= "string" or (self.announced[id] and not self.calls[id]) then
    return
  elseif not self.calls[id] then
    self.calls[id] = {}
    table.insert(self.order, id)
  end
  for name, value in pairs(update) do
    if value ~= vim.NIL then
      self.calls[id][name] = value
    end
  end
  local status = self.calls[id].status
  if status == "completed" or status == "failed" then
    self:announce(id)
    self:complete(id)
  elseif status == "in_progress" and next(self.calls[id].rawInput or {}) ~= nil then
    self:announce(id)
  end
end

--- Hand over the calls that are still open: the turn ends.
function AgentTurn:finish()
  for _, id in ipairs(self.order) do
    if self.calls[id] then
      self:announce(id)
    end
  end
end

--- What of a message of the agent was not handed over yet: of the agent's answer, the end.
---@param message { role: string, content: string }
---@return segue.NewEvent[]? events nil if it is another message
function AgentTurn:rest_of(message)
  if message.role == "llm" and message.content == vim.trim(self.text) then
    local rest = self.said:finish()
    self:begin_text()
    return { rest }
  end
end

--- Hand over what the agent has said so far, whole or not.
function AgentTurn:flush()
  local rest = self.said:finish()
  self:begin_text()
  if rest then
    self.on_events({ rest })
  end
end

--- Follow a turn of an agent: *on_events* gets the events of each tool call and of what was said
--- before it.
---@param handlers table<string, function> `message_chunk`, `tool_call` and `tool_update`; they are wrapped
---@param on_events fun(events: segue.NewEvent[])
---@return segue.AgentTurn
function M.follow(handlers, on_events)
  local error_handler = require("segue.integrations.error_handler")
  local self = setmetatable({
    on_events = on_events,
    text = "",
    calls = {},
    order = {},
    announced = {},
  }, AgentTurn)
  self:begin_text()
  local function wrap(name, before)
    local handler = handlers[name]
    before = error_handler.protect(before)
    handlers[name] = function(...)
      before(...)
      if handler then
        return handler(...)
      end
    end
  end
  wrap("message_chunk", function(chunk)
    self.text = self.text .. chunk
    self.said:add(chunk)
  end)
  wrap("tool_call", function(update)
    self:on_update(update)
  end)
  wrap("tool_update", function(update)
    self:on_update(update)
  end)
  return self
end

return M
