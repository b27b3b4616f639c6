--- Records the messages of each chat into a conversation of its own, as they arrive.

local agent_turn = require("segue.integrations.agent_turn")
local adapters = require("segue.integrations.codecompanion.adapters")
local config = require("segue.config")
local converter = require("segue.integrations.codecompanion.converter")
local error_handler = require("segue.integrations.error_handler")
local format = require("segue.format")
local protocol = require("segue.protocol")
local proxy = require("segue.integrations.codecompanion.proxy")
local registry = require("segue.registry")
local resume_offer = require("segue.integrations.codecompanion.resume_offer")
local streamed_text = require("segue.streamed_text")
local subscriptions = require("segue.subscriptions")
local turns = require("segue.integrations.codecompanion.turns")
local uuid = require("segue.uuid")
local workspaces = require("segue.workspace")

local M = {}

---@class segue.codecompanion.Recording
---@field chat table
---@field workspace string
---@field conversation? segue.Conversation The one that got the last question, and gets its answer; nil before anything is recorded
---@field agent? segue.AgentTurn What an agent (ACP) has done since the last question
---@field answer? segue.StreamedText What the model has said since the last request
---@field is_empty boolean Nothing was recorded since it started or was reset
---@field last_event_id? string Of what was recorded last
---@field recorded_ids table<string, true> Of messages, as `message_id` assigns them
---@field open_calls segue.codecompanion.OpenCall[]
---@field held_events segue.NewEvent[] Recorded with the first model-visible event: alone they open no session

-- `Chat.MESSAGE_TYPES.LLM_MESSAGE` of CodeCompanion.
local ANSWER_TYPE = "llm_message"

local recordings = {} ---@type table<integer, segue.codecompanion.Recording> by buffer
local last_submitted ---@type segue.codecompanion.Recording?

---@param events segue.NewEvent[]
---@param matches fun(event: segue.NewEvent): any
---@return boolean
local function has_event(events, matches)
  return vim.iter(events):any(matches)
end

-- Plugins that save the messages of a chat save this with them: `segue import` does not store what
-- is stored.
---@param message table
---@param session? segue.Session
local function note_session(message, session)
  if session then
    message._meta.segue_session = session.id
  end
end

---@param recording segue.codecompanion.Recording
---@param events segue.NewEvent[] of one message
---@param message? table that they are of, if CodeCompanion has it
local function append(recording, events, message)
  local conversation = recording.conversation
  if not conversation or (conversation.closed and not conversation.heir) then
    conversation = registry.start(recording.workspace)
    recording.conversation = conversation
  end
  recording.is_empty = recording.is_empty and conversation.successor ~= nil
  for _, event in ipairs(events) do
    event.id = uuid.v7()
    recording.last_event_id = event.id
  end
  registry.append_to(conversation, events, adapters.origin(recording.chat), function(err)
    local is_question = has_event(events, function(event)
      return event.type == "user_message"
    end)
    -- A question is not late: it goes on without what was deleted elsewhere.
    local is_deleted = err and err.kind == "SessionNotFound"
    if is_deleted and is_question and recording.conversation == conversation then
      recording.conversation = nil
      append(recording, events, message)
    elseif message and not err then
      note_session(message, (conversation.heir or conversation).record)
    end
  end)
end

-- CodeCompanion's own ids do not identify a message: equal contents have equal ids, and clearing
-- and compaction rewrite the list of messages. Copies of a message keep this id.
---@param message table
---@return string
local function message_id(message)
  message._meta = message._meta or {}
  message._meta.segue_id = message._meta.segue_id or uuid.v7()
  return message._meta.segue_id
end

---@param recording segue.codecompanion.Recording
---@param events segue.NewEvent[] of one message
---@param message? table that they are of, if CodeCompanion has it
local function record(recording, events, message)
  if #events == 0 or config.get().integrations.codecompanion == false then
    return
  elseif proxy.records(recording.chat) then
    return
  end
  local is_conversation = has_event(events, function(event)
    return protocol.EVENT_TYPES[event.type]
  end)
  if recording.is_empty and not is_conversation then
    vim.list_extend(recording.held_events, events)
    return
  end
  events = vim.list_extend(recording.held_events, events)
  recording.held_events = {}
  append(recording, events, message)
end

-- What was not recorded while the message was streamed.
---@param recording segue.codecompanion.Recording
---@param message table
---@return segue.NewEvent[]
local function to_events(recording, message)
  local rest = recording.agent and recording.agent:rest_of(message)
  if rest then
    return rest
  end
  local events = converter.to_events(message, recording.open_calls)
  if recording.answer and events[1] and events[1].type == "text" then
    local rest = recording.answer:finish(table.remove(events, 1).data.content)
    recording.answer = nil
    return vim.list_extend({ rest }, events)
  end
  return events
end

---@param recording segue.codecompanion.Recording
---@param message table
---@return segue.NewEvent[]
local function convert(recording, message)
  local ok, events = pcall(to_events, recording, message)
  if ok then
    return events
  end
  error_handler.notify_once("message", "a message could not be recorded: " .. tostring(events))
  return {}
end

---@param recording segue.codecompanion.Recording
---@param last_index integer
local function sync_up_to(recording, last_index)
  for index = 1, last_index do
    local message = recording.chat.messages[index]
    local id = message_id(message)
    if not recording.recorded_ids[id] then
      recording.recorded_ids[id] = true
      local was_streamed = recording.answer ~= nil
      local events = convert(recording, message)
      if #events == 0 and was_streamed and not recording.answer and recording.conversation then
        note_session(message, recording.conversation.record) -- all of it is recorded
      end
      record(recording, events, message)
    end
  end
end

---@param recording segue.codecompanion.Recording
local function sync_all(recording)
  sync_up_to(recording, #recording.chat.messages)
end

--- Record the new messages of a chat, but not a tool result at the end: while tools are running,
--- CodeCompanion appends more output to it.
---@param recording segue.codecompanion.Recording
function M.sync(recording)
  local messages = recording.chat.messages
  local last = messages[#messages]
  local may_grow = last and last.role == "tool"
  sync_up_to(recording, may_grow and #messages - 1 or #messages)
end

-- A question goes to the conversation that replaced the last one, after a reset or a deletion. What
-- answers an earlier question does not.
---@param recording segue.codecompanion.Recording
local function on_submitted(recording)
  last_submitted = recording
  resume_offer.remove(recording.chat.bufnr)
  local conversation = recording.conversation
  while conversation and (conversation.heir or conversation.successor) do
    conversation = conversation.heir or conversation.successor
  end
  if conversation and conversation.deleted then
    conversation = nil
  end
  recording.conversation = conversation
  sync_all(recording)
  if recording.conversation then
    registry.continue(recording.conversation, recording.workspace)
  end
end

-- What a model has said of a message that CodeCompanion does not have, as after an error.
---@param recording segue.codecompanion.Recording
local function record_answer(recording)
  local rest = recording.answer and recording.answer:finish()
  recording.answer = nil
  record(recording, { rest })
end

---@param recording segue.codecompanion.Recording
local function record_rest(recording)
  if recording.agent then
    recording.agent:finish()
  end
  sync_all(recording)
  record_answer(recording)
  recording.agent = nil
end

-- No more comes of what is being streamed.
---@param recording segue.codecompanion.Recording
local function record_unfinished(recording)
  if recording.agent then
    recording.agent:flush()
  end
  record_rest(recording)
end

-- CodeCompanion has no event for what a model says while it says it.
---@param recording segue.codecompanion.Recording
local function follow_answer(recording)
  local chat = recording.chat
  local add_buf_message = chat.add_buf_message
  if not add_buf_message then
    return
  end
  local on_chunk = error_handler.protect(function(data, opts)
    local is_answer = chat.current_request and type(opts) == "table" and opts.type == ANSWER_TYPE
    if is_answer and not recording.agent and type(data.content) == "string" then
      recording.answer = recording.answer
        or streamed_text.new(error_handler.protect(function(piece)
          record(recording, { piece })
        end))
      recording.answer:add(data.content)
    end
  end)
  function chat.add_buf_message(self, data, opts)
    on_chunk(data, opts)
    return add_buf_message(self, data, opts)
  end
end

-- The proxy has answered before it has stored the end of the turn.
local FOLLOW_TRIES = 20
local FOLLOW_PAUSE_MS = 100

-- Take over what the proxy has stored of a chat: its conversation is the chat's, and the current one
-- if no other chat was submitted since.
---@param recording segue.codecompanion.Recording
---@param turn_end table that becomes a segue.codecompanion.TurnEnd
---@param tries integer
local function follow(recording, turn_end, tries)
  local id = proxy.session_id(recording.chat)
  if not id then
    return
  end
  local is_last = last_submitted == nil or last_submitted == recording
  registry.follow(id, recording.workspace, is_last, function(conversation, last_event)
    if not conversation or proxy.session_id(recording.chat) ~= id then
      return -- it cannot be read now, or nothing was stored
    end
    recording.conversation = conversation
    adapters.learn(recording.chat)
    for _, message in ipairs(recording.chat.messages) do
      message_id(message)
      if not message._meta.segue_session then
        note_session(message, conversation.record)
      end
    end
    turn_end.conversation, turn_end.event_id = conversation, conversation.head
    if last_event and last_event.type ~= "turn_end" and tries > 1 then
      vim.defer_fn(function()
        follow(recording, turn_end, tries - 1)
      end, FOLLOW_PAUSE_MS)
    end
  end)
end

---@param recording segue.codecompanion.Recording
---@param tries integer
local function follow_to_here(recording, tries)
  local turn_end = {}
  turns.mark_last(recording.chat.bufnr, turn_end)
  follow(recording, turn_end, tries)
end

---@param recording segue.codecompanion.Recording
local function on_done(recording)
  record_rest(recording)
  if proxy.records(recording.chat) then
    follow_to_here(recording, FOLLOW_TRIES)
  elseif recording.conversation and recording.last_event_id then
    turns.mark_last(recording.chat.bufnr, {
      conversation = recording.conversation,
      event_id = recording.last_event_id,
    })
  end
end

---@param recording segue.codecompanion.Recording
---@param data table of the event
local function on_request_started(recording, data)
  local connection = recording.chat.acp_connection
  local prompt = connection and connection._active_prompt
  local is_agent = data.adapter and data.adapter.type == "acp"
  if is_agent and prompt and prompt.handlers and not proxy.records(recording.chat) then
    sync_all(recording)
    recording.agent = agent_turn.follow(prompt.handlers, function(events)
      record(recording, events)
    end)
  end
end

---@param recording segue.codecompanion.Recording
local function on_cleared(recording)
  resume_offer.remove(recording.chat.bufnr)
  recording.open_calls, recording.held_events = {}, {}
  recording.last_event_id = nil
  turns.clear(recording.chat.bufnr)
  if recording.is_empty or not recording.conversation or proxy.records(recording.chat) then
    return -- the agent goes on with what was said, and so does its session
  end
  recording.is_empty = true
  registry.replace(recording.conversation, function(err)
    if err then
      config.notify(
        "the chat was cleared, but its conversation was not archived: " .. err.message,
        vim.log.levels.ERROR
      )
    end
  end)
end

---@param recording segue.codecompanion.Recording
local function on_closed(recording)
  recordings[recording.chat.bufnr] = nil
  last_submitted = last_submitted ~= recording and last_submitted or nil
  record_unfinished(recording)
  turns.clear(recording.chat.bufnr)
end

---@type table<string, fun(recording: segue.codecompanion.Recording, data: table)> by User event, without its prefix
local handlers = {
  ChatSubmitted = on_submitted,
  ChatDone = on_done,
  ChatCompacting = sync_all,
  ChatCleared = on_cleared,
  ChatClosed = on_closed,
  ACPConnected = function(recording)
    adapters.learn(recording.chat)
  end,
  ACPChatRestored = function(recording)
    last_submitted = recording -- the user goes on with it
    resume_offer.remove(recording.chat.bufnr)
    follow_to_here(recording, 1)
  end,
  ToolsStarted = sync_all,
  ToolFinished = M.sync,
  ToolsFinished = sync_all,
  RequestStarted = on_request_started,
}

local is_subscribed = false

local function subscribe()
  if is_subscribed then
    return
  end
  is_subscribed = true
  local group = vim.api.nvim_create_augroup("segue_codecompanion", { clear = true })
  for name, handler in pairs(handlers) do
    vim.api.nvim_create_autocmd("User", {
      group = group,
      pattern = "CodeCompanion" .. name,
      desc = "Segue: record a CodeCompanion chat",
      callback = error_handler.protect(function(args)
        local recording = recordings[args.data and args.data.bufnr]
        if recording then
          handler(recording, args.data)
        end
      end),
    })
  end
  -- CodeCompanion has no event for a chat whose buffer is wiped out.
  vim.api.nvim_create_autocmd("BufWipeout", {
    group = group,
    desc = "Segue: record a CodeCompanion chat",
    callback = error_handler.protect(function(args)
      local recording = recordings[args.buf]
      if recording then
        on_closed(recording)
      end
    end),
  })
  subscriptions.on("moved", error_handler.protect(M.show_title))
  registry.before_exit(error_handler.protect(function()
    for _, recording in pairs(recordings) do
      record_unfinished(recording)
    end
  end))
end

---@param chat table
---@return string
local function workspace_of(chat)
  local bufnr = chat.buffer_context and chat.buffer_context.bufnr
  local is_valid = bufnr and vim.api.nvim_buf_is_valid(bufnr)
  local workspace = workspaces.of_buffer(is_valid and bufnr or nil)
  return workspace or error(workspaces.UNKNOWN.message, 0)
end

--- Start to record a chat. The messages that it already has are recorded with the first new one,
--- unless a session is given.
---@param chat table
---@param session? segue.Session which the chat continues and which already holds its messages
---@return segue.codecompanion.Recording
function M.start(chat, session)
  subscribe()
  local recording = {
    chat = chat,
    workspace = workspace_of(chat),
    conversation = session and registry.of_session(session.id),
    is_empty = not session,
    recorded_ids = {},
    open_calls = {},
    held_events = {},
  }
  -- In the chat's buffer, too, commands are about the workspace in which it was opened.
  vim.b[chat.bufnr].segue_workspace = recording.workspace
  if session then
    for _, message in ipairs(chat.messages) do
      recording.recorded_ids[message_id(message)] = true
      note_session(message, session)
    end
  end
  recordings[chat.bufnr] = recording
  follow_answer(recording)
  return recording
end

--- The recording of the chat in a buffer, if there is one.
---@param bufnr integer
---@return segue.codecompanion.Recording?
function M.of_buffer(bufnr)
  return recordings[bufnr]
end

--- Give the chat that continues a session the session's title.
---@param session { id: string, title?: string }
function M.show_title(session)
  local recording = M.of_session(session.id)
  if recording and session.title then
    recording.chat:set_title(format.title(session))
  end
end

--- The recording into a session, if a chat continues it.
---@param id string
---@return segue.codecompanion.Recording?
function M.of_session(id)
  for _, recording in pairs(recordings) do
    local session = recording.conversation and recording.conversation.record
    if session and session.id == id then
      return recording
    end
  end
end

return M
