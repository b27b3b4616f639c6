--- Brings a session back as a chat.

local config = require("segue.config")
local guard = require("segue.integrations.codecompanion.guard")
local offer = require("segue.integrations.codecompanion.offer")
local recording = require("segue.integrations.codecompanion.recording")
local segue = require("segue")
local translate = require("segue.integrations.codecompanion.messages")

local M = {}

local RESTORED_BYTES = 400000

---@type segue.Session? The chat that is made right now goes on with it
M.pending = nil

-- The newest that a model can be given at once.
---@param id string
---@param callback fun(err?: segue.Error, events?: segue.Event[], is_all?: boolean)
local function read(id, callback)
  local newest_first, bytes = {}, 0
  local function done(is_all)
    local events = {}
    for place = #newest_first, 1, -1 do
      table.insert(events, newest_first[place])
    end
    callback(nil, events, is_all)
  end
  local function page_before(seq)
    segue.events({ session_id = id, before = seq }, function(err, page)
      if err then
        return callback(err)
      end
      for place = #page.events, 1, -1 do
        bytes = bytes + translate.size(page.events[place])
        if bytes > RESTORED_BYTES and #newest_first > 0 then
          return done(false)
        end
        table.insert(newest_first, page.events[place])
      end
      if page.has_more and #page.events > 0 then
        page_before(page.events[1].seq)
      else
        done(true)
      end
    end)
  end
  page_before(nil)
end

---@param session segue.Session
---@param events segue.Event[]
local function open_chat(session, events)
  local boundary = session.boundary and session.boundary.data.content
  local restored = translate.messages(events, boundary)
  local untouched = offer.visible()
  M.pending = session
  local ok, chat = pcall(require("codecompanion").chat, {
    messages = restored.messages,
    auto_submit = false,
  })
  M.pending = nil
  if not ok or not chat then
    error(chat or "CodeCompanion opened no chat", 0)
  end
  chat.cycle = restored.cycle
  if session.title then
    chat:set_title(session.title)
  end
  if chat.adapter.type == "acp" then
    table.insert(chat.messages, translate.transcript(chat.messages))
  end
  for _, bufnr in ipairs(untouched) do
    local recorder = recording.of_buffer(bufnr)
    if recorder then
      recorder.chat:close()
    end
  end
end

--- Open a chat with the messages of a session, or show the chat that has it already.
---@param session segue.Session
function M.restore(session)
  local recorder = recording.of_session(session.id)
  if recorder then
    return require("codecompanion").restore(recorder.chat.bufnr)
  end
  read(session.id, guard.guarded(function(err, events, is_all)
    if err then
      return config.notify(err.message, vim.log.levels.ERROR)
    end
    local ok, fault = pcall(open_chat, session, events)
    if not ok then
      config.notify("the chat could not be restored: " .. tostring(fault), vim.log.levels.ERROR)
    elseif not is_all then
      config.notify(
        "the chat has the newest part of a long conversation; all of it: :Segue show " .. session.id
      )
    end
  end))
end

return M
