--- The integration of codecompanion.nvim: records its chats, and restores sessions as chats.

local config = require("segue.config")
local error_handler = require("segue.integrations.error_handler")
local proxy = require("segue.integrations.codecompanion.proxy")
local recorder = require("segue.integrations.codecompanion.recorder")
local restorer = require("segue.integrations.codecompanion.restorer")
local resume_offer = require("segue.integrations.codecompanion.resume_offer")
local turns = require("segue.integrations.codecompanion.turns")

local M = {}

---@return boolean records, boolean offers
local function settings()
  local setting = config.get().integrations.codecompanion
  local offers = not (type(setting) == "table" and setting.offer == false)
  return setting ~= false, setting ~= false and offers
end

-- Only a visible chat that the user has just opened, without a prompt of its own.
---@param chat table
---@return boolean
local function accepts_offer(chat)
  return not (chat.hidden or chat.from_prompt_library or chat.opts.auto_submit)
    and #(chat.opts.messages or {}) == 0
end

--- Record the chats that are already open.
M.attach_existing = error_handler.protect(function()
  if not settings() then
    return
  end
  for _, entry in ipairs(require("codecompanion").buf_get_chat()) do
    if not recorder.of_buffer(entry.chat.bufnr) then
      recorder.sync(recorder.start(entry.chat))
    end
  end
end)

--- Record a new chat, and offer in it to resume an earlier session.
---@type fun(bufnr: integer)
M.attach = error_handler.protect(function(bufnr)
  local records, offers = settings()
  if not records or recorder.of_buffer(bufnr) then
    return
  end
  local chat = require("codecompanion").buf_get_chat(bufnr)
  local setting = config.get().integrations.codecompanion
  if type(setting) == "table" and setting.acp then
    proxy.wrap_all()
    proxy.wrap_chat(chat)
  end
  local recording = recorder.start(chat, restorer.pending)
  M.attach_existing()
  if offers and accepts_offer(chat) then
    resume_offer.show_if_resumable(bufnr, recording.workspace, function(id)
      return recorder.of_session(id) ~= nil
    end)
  end
end)

--- Run every agent (ACP) of codecompanion.nvim behind `segue acp` from now on, in this Neovim.
---@return string[] names of the adapters
M.wrap = proxy.wrap_all

--- Whether codecompanion.nvim is installed.
---@return boolean
function M.available()
  return (pcall(require, "codecompanion"))
end

--- The session that a new chat offers to resume, where the user can see it.
---@return string? id
M.offered_session = resume_offer.visible_session

--- Whether a chat continues a session.
---@param id string
---@return boolean
function M.is_open(id)
  return recorder.of_session(id) ~= nil
end

--- The conversation of the chat in a buffer, and the turn at a line of it.
---@param bufnr integer
---@param line integer
---@return segue.Place?
function M.place(bufnr, line)
  local recording = recorder.of_buffer(bufnr)
  if not recording then
    return nil
  end
  local turn_end = turns.at(bufnr, line)
  local conversation = turn_end and turn_end.conversation or recording.conversation
  while conversation and conversation.heir do
    conversation = conversation.heir
  end
  local session = conversation and conversation.record
  local at = turn_end and turn_end.event_id
  return {
    session = session,
    at = at,
    is_last = at == nil or (session ~= nil and at == conversation.head),
  }
end

--- Give the chat that continues a session the session's title.
M.show_title = error_handler.protect(recorder.show_title)

--- Open a chat with the messages of a session, and record the chat into that session. The chat of
--- the session whose place it takes is closed. Errors are shown to the user.
---@type fun(session: segue.Session|string, replaced_id?: string)
M.restore = error_handler.protect(function(session, replaced_id)
  if type(session) == "table" then
    return restorer.restore(session, replaced_id)
  end
  local opts = { session_id = session, tail = 0 }
  require("segue").open(opts, error_handler.protect(function(err, opened)
    if err then
      return config.notify(err.message, vim.log.levels.ERROR)
    end
    restorer.restore(opened)
  end))
end)

return M
