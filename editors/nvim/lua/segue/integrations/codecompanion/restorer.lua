--- Opens a chat with the messages of a stored session.

local adapters = require("segue.integrations.codecompanion.adapters")
local config = require("segue.config")
local converter = require("segue.integrations.codecompanion.converter")
local error_handler = require("segue.integrations.error_handler")
local format = require("segue.format")
local proxy = require("segue.integrations.codecompanion.proxy")
local recorder = require("segue.integrations.codecompanion.recorder")
local registry = require("segue.registry")
local resume_offer = require("segue.integrations.codecompanion.resume_offer")
local segue = require("segue")
local turns = require("segue.integrations.codecompanion.turns")

local M = {}

local MAX_RESTORED_BYTES = 400000

---@type segue.Session? The session of the chat that is being created; nil at all other times
M.pending = nil

-- Load the newest events, up to MAX_RESTORED_BYTES, which a model's context can hold.
---@param id string
---@param callback fun(err?: segue.Error, events?: segue.Event[], complete?: boolean)
local function load_newest_events(id, callback)
  local newest_first, bytes = {}, 0
  local function finish(complete)
    local events = {}
    for index = #newest_first, 1, -1 do
      table.insert(events, newest_first[index])
    end
    callback(nil, events, complete)
  end
  local function load_before(seq)
    segue.events({ session_id = id, before = seq }, function(err, page)
      if err then
        return callback(err)
      end
      for index = #page.events, 1, -1 do
        bytes = bytes + converter.event_size(page.events[index])
        if bytes > MAX_RESTORED_BYTES and #newest_first > 0 then
          return finish(false)
        end
        table.insert(newest_first, page.events[index])
      end
      if page.has_more and #page.events > 0 then
        load_before(page.events[1].seq)
      else
        finish(true)
      end
    end)
  end
  load_before(nil)
end

---@param recording? segue.codecompanion.Recording
local function close(recording)
  if recording then
    recording.chat:close()
  end
end

-- Give an agent (ACP) what the chat shows. One behind the proxy has a name of its own, which is known
-- once it is connected: it may be the one that the session was had with.
---@param chat table
---@param session segue.Session
---@param notice? string for the user, if it is another one
local function connect(chat, session, notice)
  local function give_transcript()
    table.insert(chat.messages, converter.agent_transcript(chat.messages))
  end
  local function notify()
    if notice and proxy.agent_name(chat) ~= session.agent then
      config.notify(notice, vim.log.levels.WARN)
    end
  end
  if proxy.records(chat) then
    return proxy.load(chat, session.id, error_handler.protect(function(loaded)
      if not loaded then
        give_transcript()
      end
      notify()
    end))
  end
  notify()
  if chat.adapter.type == "acp" then
    give_transcript()
  end
end

---@param session segue.Session
---@param events segue.Event[]
---@param replaced? segue.codecompanion.Recording
local function open_chat(session, events, replaced)
  local boundary = session.boundary and session.boundary.data.content
  local restored = converter.to_messages(events, boundary)
  local empty_chats = resume_offer.visible_buffers()
  local choice = adapters.choose(session)
  M.pending = session
  local ok, chat = pcall(require("codecompanion").chat, {
    messages = restored.messages,
    auto_submit = false,
    params = choice.params,
  })
  M.pending = nil
  if not ok or not chat then
    error(chat or "CodeCompanion opened no chat", 0)
  end
  chat.cycle = restored.cycle
  turns.mark_restored(chat.bufnr, assert(registry.of_session(session.id)), restored.turns)
  close(replaced) -- before the title is set: two buffers cannot have one name
  if session.title then
    chat:set_title(format.title(session))
  end
  connect(chat, session, adapters.complete(chat, choice))
  for _, bufnr in ipairs(empty_chats) do
    close(recorder.of_buffer(bufnr))
  end
end

--- Open a chat with the messages of a session, or show the chat that already continues it. The
--- empty chats that offered to resume are closed, and the chat of the session whose place it takes.
--- Errors are shown to the user.
---@param session segue.Session
---@param replaced_id? string
function M.restore(session, replaced_id)
  local replaced = replaced_id and recorder.of_session(replaced_id)
  local recording = recorder.of_session(session.id)
  if recording then
    require("codecompanion").restore(recording.chat.bufnr)
    return close(replaced)
  end
  load_newest_events(session.id, error_handler.protect(function(err, events, complete)
    if err then
      return config.notify(err.message, vim.log.levels.ERROR)
    end
    local ok, chat_err = pcall(open_chat, session, events, replaced)
    if not ok then
      return config.notify(
        "the chat could not be restored: " .. tostring(chat_err),
        vim.log.levels.ERROR
      )
    end
    if not complete then
      config.notify(
        "only the newest part of the conversation was restored; to see all of it: :Segue show "
          .. session.id
      )
    end
  end))
end

return M
