--- Records what is said in a chat, as it is said, into a session of the chat's own.

local config = require("segue.config")
local guard = require("segue.integrations.codecompanion.guard")
local offer = require("segue.integrations.codecompanion.offer")
local segue = require("segue")
local text = require("segue.text")
local translate = require("segue.integrations.codecompanion.messages")

local M = {}

local RETRY_MS = 10000
local LAST_MOMENT_MS = 1500

---@class segue.codecompanion.Recorder
---@field chat table
---@field workspace string
---@field session? segue.Session nil until the first message
---@field opening boolean
---@field waiting fun(session: segue.Session)[] What is done as soon as it is open
---@field is_empty boolean Nothing was recorded since it began or was reset
---@field seen table<string, true> The stamps of the messages that were looked at
---@field calls segue.codecompanion.Call[]
---@field held segue.NewEvent[] What alone is no reason to open a session

local recorders = {} ---@type table<integer, segue.codecompanion.Recorder> by buffer
local unopened = {} ---@type table<segue.codecompanion.Recorder, true>
local spoken_in ---@type segue.codecompanion.Recorder? The last one

-- What :Segue does is done to the chat that was spoken in last.
local function make_current()
  local session, current = spoken_in and spoken_in.session, segue.current()
  if session and current and current.id ~= session.id then
    segue.open({ session_id = session.id, tail = 0, workspace = spoken_in.workspace })
  end
end

---@param recorder segue.codecompanion.Recorder
local function open(recorder)
  if recorder.opening or recorder.session then
    return
  end
  recorder.opening = true
  unopened[recorder] = true
  local opts = { mode = "new", tail = 0, workspace = recorder.workspace }
  segue.open(opts, guard.guarded(function(err, session)
    recorder.opening = false
    if err then
      if err.kind ~= "ServerNotFound" and err.kind ~= "ServerStopped" then
        guard.say("open", "a chat waits here to be stored, and is tried again: " .. err.message)
      end
      vim.defer_fn(
        guard.guarded(function()
          open(recorder)
        end),
        RETRY_MS
      )
      return
    end
    guard.forget("open")
    unopened[recorder] = nil
    recorder.session = session
    local waiting = recorder.waiting
    recorder.waiting = {}
    for _, action in ipairs(waiting) do
      action(session)
    end
    make_current()
  end))
end

---@param recorder segue.codecompanion.Recorder
---@param action fun(session: segue.Session)
local function when_open(recorder, action)
  if recorder.session then
    return action(recorder.session)
  end
  table.insert(recorder.waiting, action)
  open(recorder)
end

---@param recorder segue.codecompanion.Recorder
---@param events segue.NewEvent[]
local function record(recorder, events)
  recorder.is_empty = false
  when_open(recorder, function(session)
    segue.append(events, { session_id = session.id })
  end)
end

-- The list of messages is rewritten by clearing and compaction, and equal texts have equal ids
-- there: so each message gets a stamp of ours. Copies of it keep the stamp.
---@param message table
---@return string
local function stamp(message)
  message._meta = message._meta or {}
  message._meta.segue_id = message._meta.segue_id or text.event_id()
  return message._meta.segue_id
end

-- Record what is new in the chat.
---@param recorder segue.codecompanion.Recorder
---@param up_to? integer
local function sync(recorder, up_to)
  local events = recorder.held
  recorder.held = {}
  for place = 1, up_to or #recorder.chat.messages do
    local message = recorder.chat.messages[place]
    local id = stamp(message)
    if not recorder.seen[id] then
      recorder.seen[id] = true
      local ok, found = pcall(translate.events, message, recorder.calls)
      if ok then
        vim.list_extend(events, found)
      else
        guard.say("message", "a message could not be recorded: " .. tostring(found))
      end
    end
  end
  if #events == 0 or config.get().integrations.codecompanion == false then
    return
  end
  local is_conversation = vim.iter(events):any(function(event)
    return event.type ~= "system_context"
  end)
  if is_conversation or not recorder.is_empty then
    record(recorder, events)
  else
    recorder.held = events
  end
end

--- Record what is new in a chat whose tools may be running.
---
--- More output of a call is put into the message of its result, so the last one may yet grow.
---@param recorder segue.codecompanion.Recorder
function M.sync(recorder)
  local messages = recorder.chat.messages
  local last = messages[#messages]
  sync(recorder, last and last.role == "tool" and #messages - 1 or nil)
end

---@param recorder segue.codecompanion.Recorder
local function submitted(recorder)
  offer.withdraw(recorder.chat.bufnr)
  spoken_in = recorder
  make_current()
  sync(recorder)
end

---@param recorder segue.codecompanion.Recorder
local function cleared(recorder)
  offer.withdraw(recorder.chat.bufnr)
  recorder.calls, recorder.held = {}, {}
  if recorder.is_empty then
    return
  end
  recorder.is_empty = true
  when_open(recorder, function(session)
    segue.reset({ session_id = session.id }, function(err)
      if err then
        config.notify(
          "the chat was cleared, but its conversation is not archived: " .. err.message,
          vim.log.levels.ERROR
        )
      end
    end)
  end)
end

---@param recorder segue.codecompanion.Recorder
local function finish(recorder)
  recorders[recorder.chat.bufnr] = nil
  sync(recorder)
end

---@type table<string, fun(recorder: segue.codecompanion.Recorder)>
local on_event = {
  ChatSubmitted = submitted,
  ChatDone = sync,
  ChatCompacting = sync,
  ChatCleared = cleared,
  ChatClosed = finish,
  ToolsStarted = sync,
  ToolFinished = M.sync,
  ToolsFinished = sync,
}

-- The session of a chat that was just begun may not be open yet: without it, nothing can be sent.
local function before_end()
  for _, recorder in pairs(recorders) do
    sync(recorder)
  end
  for recorder in pairs(unopened) do
    open(recorder)
  end
  vim.wait(LAST_MOMENT_MS, function()
    return not vim.iter(pairs(unopened)):any(function(recorder)
      return recorder.opening
    end)
  end, 5)
end

local listening = false

local function listen()
  if listening then
    return
  end
  listening = true
  local group = vim.api.nvim_create_augroup("segue_codecompanion", { clear = true })
  for name, handle in pairs(on_event) do
    vim.api.nvim_create_autocmd("User", {
      group = group,
      pattern = "CodeCompanion" .. name,
      desc = "Segue: record a CodeCompanion chat",
      callback = guard.guarded(function(args)
        local recorder = recorders[args.data.bufnr]
        if recorder then
          handle(recorder)
        end
      end),
    })
  end
  -- Its end comes without an event of CodeCompanion.
  vim.api.nvim_create_autocmd("BufWipeout", {
    group = group,
    desc = "Segue: record a CodeCompanion chat",
    callback = guard.guarded(function(args)
      local recorder = recorders[args.buf]
      if recorder then
        finish(recorder)
      end
    end),
  })
  -- By VimLeavePre the server may have been told to end.
  vim.api.nvim_create_autocmd({ "ExitPre", "VimLeavePre" }, {
    group = group,
    desc = "Segue: store what is not stored yet",
    callback = guard.guarded(before_end),
  })
  segue.on("reset", function(session, detail)
    for _, recorder in pairs(recorders) do
      if recorder.session and recorder.session.id == detail.from then
        recorder.session = session
      end
    end
  end)
end

---@param chat table
---@return string
local function workspace_of(chat)
  local bufnr = chat.buffer_context and chat.buffer_context.bufnr
  local is_there = bufnr and vim.api.nvim_buf_is_valid(bufnr)
  return is_there and vim.fs.root(bufnr, ".git") or require("segue.server").workspace()
end

--- Record a chat from now on. What it holds already is recorded with what is said next.
---@param chat table
---@param session? segue.Session What the chat goes on with; its messages are recorded already
---@return segue.codecompanion.Recorder
function M.begin(chat, session)
  listen()
  local recorder = {
    chat = chat,
    workspace = workspace_of(chat),
    session = session,
    opening = false,
    waiting = {},
    is_empty = not session,
    seen = {},
    calls = {},
    held = {},
  }
  if session then
    for _, message in ipairs(chat.messages) do
      recorder.seen[stamp(message)] = true
    end
  end
  recorders[chat.bufnr] = recorder
  return recorder
end

--- Who records the chat of a buffer.
---@param bufnr integer
---@return segue.codecompanion.Recorder?
function M.of_buffer(bufnr)
  return recorders[bufnr]
end

--- Who records into a session.
---@param id string
---@return segue.codecompanion.Recorder?
function M.of_session(id)
  for _, recorder in pairs(recorders) do
    if recorder.session and recorder.session.id == id then
      return recorder
    end
  end
end

return M
