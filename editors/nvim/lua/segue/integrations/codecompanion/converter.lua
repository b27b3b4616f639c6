--- Converts CodeCompanion messages to events, and events to CodeCompanion messages.

local json = require("segue.json")
local pieces = require("segue.pieces")
local uuid = require("segue.uuid")

local M = {}

local MAX_RESULT_BYTES = 8000
local TAG = "segue"
local INTERRUPTED = "*(The answer was interrupted here.)*"
local NOTES_HEADER = "[Tool calls, results and skills at this point of the conversation:]\n\n"
local TRANSCRIPT_HEADER = "[An earlier conversation, which is continued now:]\n\n"

---@class segue.codecompanion.OpenCall A tool call that has no result yet
---@field id string
---@field name string

---@param content any
---@return string
local function to_string(content)
  if type(content) == "string" then
    return content
  elseif content == nil or content == vim.NIL then
    return ""
  end
  local ok, encoded = pcall(vim.json.encode, content)
  return ok and encoded or vim.inspect(content)
end

---@param arguments any JSON text, or a table from some adapters
---@return any
local function parse_arguments(arguments)
  if arguments == nil or arguments == "" then
    return vim.empty_dict()
  end
  local input = arguments
  if type(arguments) == "string" then
    local ok, value = pcall(vim.json.decode, arguments)
    input = ok and value or arguments
  end
  if json.encode(input) then
    return input
  end
  return to_string(arguments)
end

-- Some adapters give results no id: such a result belongs to the first open call of its name.
---@param open_calls segue.codecompanion.OpenCall[]
---@param id? string
---@param name? string
---@return string
local function close_call(open_calls, id, name)
  for index, call in ipairs(open_calls) do
    if id == call.id or (not id and (not name or name == call.name)) then
      return table.remove(open_calls, index).id
    end
  end
  return id or uuid.v7()
end

---@param message table
---@param open_calls segue.codecompanion.OpenCall[]
---@return segue.NewEvent[]
local function from_model(message, open_calls)
  local events = {}
  local content = to_string(message.content)
  if content ~= "" then
    table.insert(events, { type = "text", data = { content = content } })
  end
  for _, call in ipairs(message.tools and message.tools.calls or {}) do
    local func = call["function"] or {}
    local id, name = call.call_id or call.id or uuid.v7(), func.name or "unknown"
    table.insert(open_calls, { id = id, name = name })
    table.insert(events, {
      type = "tool_call",
      data = { id = id, name = name, input = parse_arguments(func.arguments) },
    })
  end
  return events
end

---@param message table
---@param open_calls segue.codecompanion.OpenCall[]
---@return segue.NewEvent[]
local function from_tool(message, open_calls)
  local tools = message.tools or {}
  local id = close_call(open_calls, tools.call_id, tools.name or message.tool_name)
  local data = {
    tool_use_id = id,
    content = to_string(message.content),
    is_error = tools.is_error == true,
  }
  return { { type = "tool_result", data = data } }
end

---@param message table
---@return segue.NewEvent[]
local function from_user(message)
  local tag = message._meta and message._meta.tag
  local shared = message.context and message.context.id
  local content = to_string(message.content)
  if tag == "compact_summary" then
    return { { type = "system_context", data = { content = content } } }
  elseif shared then
    -- The name is enough to know what "this file" was; the content is large, may hold secrets, and
    -- becomes outdated.
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

--- Convert a message to events: to none if it is a system prompt, a rule, or otherwise not part of
--- the conversation.
---@param message table of CodeCompanion
---@param open_calls segue.codecompanion.OpenCall[] of the chat; updated in place
---@return segue.NewEvent[]
function M.to_events(message, open_calls)
  if message.role == "llm" then
    return from_model(message, open_calls)
  elseif message.role == "tool" then
    return from_tool(message, open_calls)
  elseif message.role == "user" then
    return from_user(message)
  end
  return {}
end

-- CodeCompanion finds the user's prompt by its heading, which an open code block above would hide.
---@param content string
---@return string
local function close_code_block(content)
  local open_fence ---@type string?
  for line in vim.gsplit(content, "\n", { plain = true }) do
    local fence, rest = line:match("^ ? ? ?(```+)(.*)$")
    if not fence then
      fence, rest = line:match("^ ? ? ?(~~~+)(.*)$")
    end
    if fence and not open_fence and not rest:find("`", 1, true) then
      open_fence = fence
    elseif fence and open_fence and vim.startswith(fence, open_fence) and vim.trim(rest) == "" then
      open_fence = nil
    end
  end
  return open_fence and content .. "\n" .. open_fence or content
end

---@param content string
---@return string
local function truncate(content)
  if #content <= MAX_RESULT_BYTES then
    return content
  end
  local kept = json.to_utf8(content:sub(1, MAX_RESULT_BYTES))
  kept = kept:gsub(json.REPLACEMENT_CHARACTER .. "+$", "") -- a character that was cut in half
  return ("%s\n[… %d bytes in all]"):format(kept, #content)
end

---@type table<string, fun(data: table): string> by event type
local note_renderers = {
  tool_call = function(data)
    return ("Called %s with %s"):format(data.name, to_string(data.input))
  end,
  tool_result = function(data)
    local outcome = data.is_error and "It failed:\n" or "It returned:\n"
    return outcome .. truncate(to_string(data.content))
  end,
  skill_invocation = function(data)
    return ("Skill %s:\n%s"):format(data.name, to_string(data.content))
  end,
}

--- The approximate size in bytes of an event in a restored chat.
---@param event segue.Event
---@return integer
function M.event_size(event)
  local data = type(event.data) == "table" and event.data or {}
  local render_note = note_renderers[event.type]
  return render_note and #render_note(data) or #to_string(data.content)
end

---@param role string
---@param content string
---@param cycle integer
---@return table
local function visible_message(role, content, cycle)
  return {
    role = role,
    content = close_code_block(content),
    opts = { visible = true },
    _meta = { cycle = cycle, sent = true },
  }
end

---@param content string
---@param cycle integer
---@param sent boolean
---@return table
local function hidden_message(content, cycle, sent)
  return {
    role = "user",
    content = content,
    opts = { visible = false },
    _meta = { cycle = cycle, sent = sent or nil, tag = TAG },
  }
end

---@class segue.codecompanion.Turn
---@field question? string nil before the user's first message
---@field last_event_id? string
---@field notes string[] Tool calls, results and skills
---@field answers string[]

---@param events segue.Event[]
---@return segue.codecompanion.Turn[]
local function group_turns(events)
  local turns = { { notes = {}, answers = {} } }
  for _, group in ipairs(pieces.group(events)) do
    local event = pieces.join(group)
    local data = not event.corrupt and type(event.data) == "table" and event.data or {}
    local turn = turns[#turns]
    local render_note = note_renderers[event.type]
    if event.type == "user_message" then
      turn = { question = to_string(data.content), notes = {}, answers = {} }
      table.insert(turns, turn)
    elseif event.type == "text" then
      table.insert(turn.answers, to_string(data.content))
    elseif render_note and not event.corrupt then
      table.insert(turn.notes, render_note(data))
    end
    turn.last_event_id = group[#group].id
  end
  return turns
end

---@class segue.codecompanion.RestoredTurn
---@field question string Empty before the user's first message
---@field answer string
---@field last_event_id string

---@class segue.codecompanion.Restored
---@field messages table[] The last one is the draft in the prompt
---@field turns segue.codecompanion.RestoredTurn[] Without those that became the draft
---@field cycle integer The number of the next cycle

--- Convert events to the messages of a chat.
---
--- Tool calls become prose in a hidden message: adapters reject calls of tools that the chat does
--- not have, and a model that finds calls in its own messages imitates them.
---@param events segue.Event[]
---@param boundary? string The note for the model that an earlier invocation ends
---@return segue.codecompanion.Restored
function M.to_messages(events, boundary)
  local messages, turns, cycle, unanswered = {}, {}, 0, {}
  for _, turn in ipairs(group_turns(events)) do
    if turn.question then
      cycle = cycle + 1
      table.insert(messages, visible_message("user", turn.question, cycle))
      table.insert(unanswered, turn.question)
    end
    if #turn.notes > 0 then
      local notes = NOTES_HEADER .. table.concat(turn.notes, "\n\n")
      table.insert(messages, hidden_message(notes, cycle, true))
      turn.answers[1] = turn.answers[1] or turn.question and INTERRUPTED
    end
    local answer = table.concat(turn.answers, "\n\n")
    if #turn.answers > 0 then
      table.insert(messages, visible_message("llm", answer, cycle))
      unanswered = {}
    end
    if turn.last_event_id then
      local question = turn.question or ""
      local last_event_id = turn.last_event_id
      table.insert(turns, { question = question, answer = answer, last_event_id = last_event_id })
    end
  end
  -- Unanswered questions become the draft. As messages they would be sent twice: CodeCompanion
  -- sends everything below the user's last heading in the buffer.
  for _ = 1, #unanswered do
    table.remove(messages)
    table.remove(turns)
  end
  if boundary then
    table.insert(messages, hidden_message(boundary, cycle, true))
  end
  table.insert(messages, { role = "user", content = table.concat(unanswered, "\n\n") })
  return { messages = messages, turns = turns, cycle = cycle - #unanswered + 1 }
end

--- The whole restored conversation as one hidden message. An agent (ACP) is sent only new messages.
---@param messages table[]
---@return table message
function M.agent_transcript(messages)
  local parts = {}
  for _, message in ipairs(messages) do
    local speaker = message.role == "llm" and "Assistant: " or "User: "
    local is_note = message._meta and message._meta.tag == TAG
    if message.role ~= "system" and (is_note or not (message._meta or {}).tag) then
      table.insert(parts, (is_note and "" or speaker) .. message.content)
    end
  end
  return hidden_message(TRANSCRIPT_HEADER .. table.concat(parts, "\n\n"), 1, false)
end

return M
