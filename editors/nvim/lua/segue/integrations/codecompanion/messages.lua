--- What the messages of a CodeCompanion chat are as events, and what events are as messages.

local text = require("segue.text")

local M = {}

local RESULT_BYTES = 8000
local TAG = "segue"
local INTERRUPTED = "*(The answer was interrupted here.)*"
local NOTES = "[What ran and was read at this point of the conversation:]\n\n"
local TRANSCRIPT = "[An earlier conversation, which goes on now:]\n\n"

---@class segue.codecompanion.Call A tool call that has no result yet
---@field id string
---@field name string

---@param content any
---@return string
local function as_text(content)
  if type(content) == "string" then
    return content
  elseif content == nil or content == vim.NIL then
    return ""
  end
  local ok, json = pcall(vim.json.encode, content)
  return ok and json or vim.inspect(content)
end

---@param arguments any JSON; of some adapters a table
---@return any
local function input_of(arguments)
  if arguments == nil or arguments == "" then
    return vim.empty_dict()
  end
  local input = arguments
  if type(arguments) == "string" then
    local ok, value = pcall(vim.json.decode, arguments)
    input = ok and value or arguments
  end
  if text.copy({ input = input }) then
    return input
  end
  return as_text(arguments)
end

---@param calls segue.codecompanion.Call[]
---@param id? string
---@param name? string
---@return string
local function answered(calls, id, name)
  for place, call in ipairs(calls) do
    if id == call.id or (not id and (not name or name == call.name)) then
      return table.remove(calls, place).id
    end
  end
  return id or text.event_id()
end

---@param message table
---@param calls segue.codecompanion.Call[]
---@return segue.NewEvent[]
local function from_model(message, calls)
  local events = {}
  local content = as_text(message.content)
  if content ~= "" then
    table.insert(events, { type = "text", data = { content = content } })
  end
  for _, call in ipairs(message.tools and message.tools.calls or {}) do
    local called = call["function"] or {}
    local id, name = call.call_id or call.id or text.event_id(), called.name or "unknown"
    table.insert(calls, { id = id, name = name })
    table.insert(events, {
      type = "tool_call",
      data = { id = id, name = name, input = input_of(called.arguments) },
    })
  end
  return events
end

---@param message table
---@param calls segue.codecompanion.Call[]
---@return segue.NewEvent[]
local function from_tool(message, calls)
  local tools = message.tools or {}
  local id = answered(calls, tools.call_id, tools.name or message.tool_name)
  local data = {
    tool_use_id = id,
    content = as_text(message.content),
    is_error = tools.is_error == true,
  }
  return { { type = "tool_result", data = data } }
end

---@param message table
---@return segue.NewEvent[]
local function from_user(message)
  local tag = message._meta and message._meta.tag
  local shared = message.context and message.context.id
  local content = as_text(message.content)
  if tag == "compact_summary" then
    return { { type = "system_context", data = { content = content } } }
  elseif shared then
    -- Its name says what "this file" means; its text is large, may hold secrets, and grows old.
    if tag == "rules" or tag == "tool" then
      return {}
    end
    local note = ("[Shared with the model: %s]"):format(shared)
    return { { type = "system_context", data = { content = note } } }
  elseif tag or (message.opts and message.opts.visible == false) or content == "" then
    return {}
  end
  return { { type = "user_message", data = { content = content } } }
end

--- The events that a message is: none if nobody said it.
---@param message table of CodeCompanion
---@param calls segue.codecompanion.Call[] The chat's calls without a result; kept up to date
---@return segue.NewEvent[]
function M.events(message, calls)
  if message.role == "llm" then
    return from_model(message, calls)
  elseif message.role == "tool" then
    return from_tool(message, calls)
  elseif message.role == "user" then
    return from_user(message)
  end
  return {}
end

-- A code block that is not closed would hide the headings below it, by which CodeCompanion finds
-- what the person types.
---@param content string
---@return string
local function closed(content)
  local open ---@type string?
  for line in vim.gsplit(content, "\n", { plain = true }) do
    local marks, rest = line:match("^ ? ? ?(```+)(.*)$")
    if not marks then
      marks, rest = line:match("^ ? ? ?(~~~+)(.*)$")
    end
    if marks and not open and not rest:find("`", 1, true) then
      open = marks
    elseif marks and open and vim.startswith(marks, open) and vim.trim(rest) == "" then
      open = nil
    end
  end
  return open and content .. "\n" .. open or content
end

---@param content string
---@return string
local function cut(content)
  if #content <= RESULT_BYTES then
    return content
  end
  local kept = text.clean(content:sub(1, RESULT_BYTES)):gsub("\239\191\189+$", "")
  return ("%s\n[… %d bytes in all]"):format(kept, #content)
end

---@type table<string, fun(data: table): string>
local notes = {
  tool_call = function(data)
    return ("Called %s with %s"):format(data.name, as_text(data.input))
  end,
  tool_result = function(data)
    return (data.is_error and "It failed:\n" or "It returned:\n") .. cut(as_text(data.content))
  end,
  skill_invocation = function(data)
    return ("Skill %s:\n%s"):format(data.name, as_text(data.content))
  end,
}

--- About how many bytes of a chat an event takes.
---@param event segue.Event
---@return integer
function M.size(event)
  local data = type(event.data) == "table" and event.data or {}
  return notes[event.type] and #notes[event.type](data) or #as_text(data.content)
end

---@param role string
---@param content string
---@param cycle integer
---@return table
local function visible(role, content, cycle)
  return {
    role = role,
    content = closed(content),
    opts = { visible = true },
    _meta = { cycle = cycle, sent = true },
  }
end

---@param content string
---@param cycle integer
---@param sent boolean
---@return table
local function hidden(content, cycle, sent)
  return {
    role = "user",
    content = content,
    opts = { visible = false },
    _meta = { cycle = cycle, sent = sent or nil, tag = TAG },
  }
end

---@class segue.codecompanion.Turn
---@field said? string What the person said
---@field notes string[]
---@field texts string[] What the model said

---@param events segue.Event[]
---@return segue.codecompanion.Turn[]
local function turns_of(events)
  local turns = { { notes = {}, texts = {} } }
  for _, event in ipairs(events) do
    local data = not event.corrupt and type(event.data) == "table" and event.data or {}
    local turn = turns[#turns]
    if event.type == "user_message" then
      table.insert(turns, { said = as_text(data.content), notes = {}, texts = {} })
    elseif event.type == "text" then
      table.insert(turn.texts, as_text(data.content))
    elseif notes[event.type] and not event.corrupt then
      table.insert(turn.notes, notes[event.type](data))
    end
  end
  return turns
end

---@class segue.codecompanion.Restored
---@field messages table[] The last one is what the person may type on
---@field cycle integer The cycle that comes next

--- The messages that bring a conversation back.
---
--- Tools are told in words, in a message that is not shown: adapters refuse calls of tools that the
--- chat does not have, and a model that reads calls in its own words begins to write them.
---@param events segue.Event[]
---@param boundary? string What tells the model that an earlier invocation ends
---@return segue.codecompanion.Restored
function M.messages(events, boundary)
  local messages, cycle, draft = {}, 0, {}
  for _, turn in ipairs(turns_of(events)) do
    if turn.said then
      cycle = cycle + 1
      table.insert(messages, visible("user", turn.said, cycle))
      table.insert(draft, turn.said)
    end
    if #turn.notes > 0 then
      table.insert(messages, hidden(NOTES .. table.concat(turn.notes, "\n\n"), cycle, true))
      turn.texts[1] = turn.texts[1] or turn.said and INTERRUPTED
    end
    if #turn.texts > 0 then
      table.insert(messages, visible("llm", table.concat(turn.texts, "\n\n"), cycle))
      draft = {}
    end
  end
  -- What was not answered is the person's to send again. As a message it would be sent twice:
  -- CodeCompanion reads everything below the last heading of the person from the buffer.
  for _ = 1, #draft do
    table.remove(messages)
  end
  if boundary then
    table.insert(messages, hidden(boundary, cycle, true))
  end
  table.insert(messages, { role = "user", content = table.concat(draft, "\n\n") })
  return { messages = messages, cycle = cycle - #draft + 1 }
end

--- All of a restored conversation in one message, for an agent, which is only sent what is new.
---@param messages table[]
---@return table
function M.transcript(messages)
  local parts = {}
  for _, message in ipairs(messages) do
    local speaker = message.role == "llm" and "Assistant: " or "User: "
    local is_note = message._meta and message._meta.tag == TAG
    if message.role ~= "system" and (is_note or not (message._meta or {}).tag) then
      table.insert(parts, (is_note and "" or speaker) .. message.content)
    end
  end
  return hidden(TRANSCRIPT .. table.concat(parts, "\n\n"), 1, false)
end

return M
