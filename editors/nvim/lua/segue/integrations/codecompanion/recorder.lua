--- Records the messages of each chat into a session of its own, as they arrive.

local config = require("segue.config")
local converter = require("segue.integrations.codecompanion.converter")
local error_handler = require("segue.integrations.codecompanion.error_handler")
local protocol = require("segue.protocol")
local resume_offer = require("segue.integrations.codecompanion.resume_offer")
local segue = require("segue")
local uuid = require("segue.uuid")

local M = {}

local RETRY_MS = 10000
local EXIT_TIMEOUT_MS = 1500

---@class segue.codecompanion.Recording
---@field chat table
---@field workspace string
---@field session? segue.Session nil until a session was opened for the first message
---@field opening boolean
---@field open_callbacks fun(session: segue.Session)[]
---@field is_empty boolean Nothing was recorded since it started or was reset
---@field recorded_ids table<string, true> Of messages, as `message_id` assigns them
---@field open_calls segue.codecompanion.OpenCall[]
---@field held_events segue.NewEvent[] Recorded with the first model-visible event: alone they open no session

local recordings = {} ---@type table<integer, segue.codecompanion.Recording> by buffer
local unopened = {} ---@type table<segue.codecompanion.Recording, true>
local last_used ---@type segue.codecompanion.Recording? The one whose chat was submitted last

-- :Segue commands act on the current session: make it that of the chat that was used last.
local function select_last_used()
  local session, current = last_used and last_used.session, segue.current()
  if session and current and current.id ~= session.id then
    segue.open({ session_id = session.id, tail = 0, workspace = last_used.workspace })
  end
end

---@param recording segue.codecompanion.Recording
local function open(recording)
  if recording.opening or recording.session then
    return
  end
  recording.opening = true
  unopened[recording] = true
  local opts = { mode = "new", tail = 0, workspace = recording.workspace }
  segue.open(opts, error_handler.protect(function(err, session)
    recording.opening = false
    if err then
      if err.kind ~= "ServerNotFound" and err.kind ~= "ServerStopped" then
        local message = "a chat is not stored yet; retrying every %d seconds: %s"
        error_handler.notify_once("open", message:format(RETRY_MS / 1000, err.message))
      end
      vim.defer_fn(
        error_handler.protect(function()
          open(recording)
        end),
        RETRY_MS
      )
      return
    end
    error_handler.reset("open")
    unopened[recording] = nil
    recording.session = session
    local callbacks = recording.open_callbacks
    recording.open_callbacks = {}
    for _, callback in ipairs(callbacks) do
      callback(session)
    end
    select_last_used()
  end))
end

---@param recording segue.codecompanion.Recording
---@param callback fun(session: segue.Session)
local function when_open(recording, callback)
  if recording.session then
    return callback(recording.session)
  end
  table.insert(recording.open_callbacks, callback)
  open(recording)
end

---@param recording segue.codecompanion.Recording
---@param events segue.NewEvent[]
local function append(recording, events)
  recording.is_empty = false
  when_open(recording, function(session)
    segue.append(events, { session_id = session.id })
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
---@param last_index integer
local function sync_up_to(recording, last_index)
  local events = recording.held_events
  recording.held_events = {}
  for index = 1, last_index do
    local message = recording.chat.messages[index]
    local id = message_id(message)
    if not recording.recorded_ids[id] then
      recording.recorded_ids[id] = true
      local ok, converted = pcall(converter.to_events, message, recording.open_calls)
      if ok then
        vim.list_extend(events, converted)
      else
        local notice = "a message could not be recorded: " .. tostring(converted)
        error_handler.notify_once("message", notice)
      end
    end
  end
  if #events == 0 or config.get().integrations.codecompanion == false then
    return
  end
  local is_conversation = vim.iter(events):any(function(event)
    return protocol.EVENT_TYPES[event.type]
  end)
  if is_conversation or not recording.is_empty then
    append(recording, events)
  else
    recording.held_events = events
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

---@param recording segue.codecompanion.Recording
local function on_submitted(recording)
  resume_offer.remove(recording.chat.bufnr)
  last_used = recording
  select_last_used()
  sync_all(recording)
end

---@param recording segue.codecompanion.Recording
local function on_cleared(recording)
  resume_offer.remove(recording.chat.bufnr)
  recording.open_calls, recording.held_events = {}, {}
  if recording.is_empty then
    return
  end
  recording.is_empty = true
  when_open(recording, function(session)
    segue.reset({ session_id = session.id }, function(err)
      if err then
        config.notify(
          "the chat was cleared, but its conversation was not archived: " .. err.message,
          vim.log.levels.ERROR
        )
      end
    end)
  end)
end

---@param recording segue.codecompanion.Recording
local function on_closed(recording)
  recordings[recording.chat.bufnr] = nil
  sync_all(recording)
end

---@type table<string, fun(recording: segue.codecompanion.Recording)> by User event, without its prefix
local handlers = {
  ChatSubmitted = on_submitted,
  ChatDone = sync_all,
  ChatCompacting = sync_all,
  ChatCleared = on_cleared,
  ChatClosed = on_closed,
  ToolsStarted = sync_all,
  ToolFinished = M.sync,
  ToolsFinished = sync_all,
}

-- A chat's session may not be open yet, and nothing can be sent before it is.
local function open_before_exit()
  for _, recording in pairs(recordings) do
    sync_all(recording)
  end
  for recording in pairs(unopened) do
    open(recording)
  end
  vim.wait(EXIT_TIMEOUT_MS, function()
    return not vim.iter(pairs(unopened)):any(function(recording)
      return recording.opening
    end)
  end, 5)
end

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
        local recording = recordings[args.data.bufnr]
        if recording then
          handler(recording)
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
  -- Neovim's LSP client may shut the server down in a VimLeavePre handler that runs before this
  -- one.
  vim.api.nvim_create_autocmd({ "ExitPre", "VimLeavePre" }, {
    group = group,
    desc = "Segue: store queued events",
    callback = error_handler.protect(open_before_exit),
  })
  segue.on("reset", function(session, detail)
    for _, recording in pairs(recordings) do
      if recording.session and recording.session.id == detail.from then
        recording.session = session
      end
    end
  end)
end

---@param chat table
---@return string
local function workspace_of(chat)
  local bufnr = chat.buffer_context and chat.buffer_context.bufnr
  local is_valid = bufnr and vim.api.nvim_buf_is_valid(bufnr)
  return is_valid and vim.fs.root(bufnr, ".git") or require("segue.server").workspace()
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
    session = session,
    opening = false,
    open_callbacks = {},
    is_empty = not session,
    recorded_ids = {},
    open_calls = {},
    held_events = {},
  }
  if session then
    for _, message in ipairs(chat.messages) do
      recording.recorded_ids[message_id(message)] = true
    end
  end
  recordings[chat.bufnr] = recording
  return recording
end

--- The recording of the chat in a buffer, if there is one.
---@param bufnr integer
---@return segue.codecompanion.Recording?
function M.of_buffer(bufnr)
  return recordings[bufnr]
end

--- The recording into a session, if a chat continues it.
---@param id string
---@return segue.codecompanion.Recording?
function M.of_session(id)
  for _, recording in pairs(recordings) do
    if recording.session and recording.session.id == id then
      return recording
    end
  end
end

return M
