--- Records the chats of codecompanion.nvim, and brings them back as chats.

local config = require("segue.config")
local guard = require("segue.integrations.codecompanion.guard")
local offer = require("segue.integrations.codecompanion.offer")
local recording = require("segue.integrations.codecompanion.recording")
local restoring = require("segue.integrations.codecompanion.restoring")

local M = {}

---@return boolean on, boolean offers
local function settings()
  local given = config.get().integrations.codecompanion
  local offers = not (type(given) == "table" and given.offer == false)
  return given ~= false, given ~= false and offers
end

---@param chat table
---@return boolean
local function invites_offer(chat)
  return not (chat.hidden or chat.from_prompt_library or chat.opts.auto_submit)
    and #(chat.opts.messages or {}) == 0
end

--- Record the chats that were begun before this was loaded.
M.attach_existing = guard.guarded(function()
  if not settings() then
    return
  end
  for _, entry in ipairs(require("codecompanion").buf_get_chat()) do
    if not recording.of_buffer(entry.chat.bufnr) then
      recording.sync(recording.begin(entry.chat))
    end
  end
end)

--- Record a new chat.
---@type fun(bufnr: integer)
M.attach = guard.guarded(function(bufnr)
  local on, offers = settings()
  if not on or recording.of_buffer(bufnr) then
    return
  end
  local chat = require("codecompanion").buf_get_chat(bufnr)
  local recorder = recording.begin(chat, restoring.pending)
  M.attach_existing()
  if offers and invites_offer(chat) then
    offer.consider(bufnr, recorder.workspace, function(id)
      return recording.of_session(id) ~= nil
    end)
  end
end)

--- Whether CodeCompanion is here.
---@return boolean
function M.available()
  return (pcall(require, "codecompanion"))
end

--- Open a chat with the messages of a session, and go on with that session.
---@type fun(session: segue.Session|string)
M.restore = guard.guarded(function(session)
  if type(session) == "table" then
    return restoring.restore(session)
  end
  local opts = { session_id = session, tail = 0 }
  require("segue").open(opts, guard.guarded(function(err, opened)
    if err then
      return config.notify(err.message, vim.log.levels.ERROR)
    end
    restoring.restore(opened)
  end))
end)

return M
