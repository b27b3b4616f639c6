--- The conversations that are open in this Neovim, and the operations of |segue-api| on them.

local Conversation = require("segue.conversation")
local Outbox = require("segue.outbox")
local config = require("segue.config")
local format = require("segue.format")
local open_requests = require("segue.open_requests")
local server = require("segue.server")
local subscriptions = require("segue.subscriptions")

local M = {}

local EXIT_TIMEOUT_MS = 1500

local conversations = {} ---@type table<segue.Conversation, true>
local by_id = {} ---@type table<string, segue.Conversation> by every session id that it had here
local current ---@type segue.Conversation?

local status = ""
local status_used = false

local function update_status()
  local new_status = ""
  if current and current.record then
    local count = current.outbox:count()
    local unsent = count > 0 and (" +%d"):format(count) or ""
    new_status = ("segue %d%s"):format(current.record.event_count, unsent)
  end
  if new_status ~= status then
    status = new_status
    if status_used then
      vim.schedule(function()
        vim.cmd.redrawstatus({ bang = true })
      end)
    end
  end
end

---@type segue.ConversationOwner
local owner = {
  claim = function(conversation, id)
    local other = by_id[id]
    if other and other ~= conversation and other.record and other.record.id == id then
      return other
    end
    by_id[id] = conversation
  end,
  remove = function(conversation, successor)
    conversations[conversation] = nil
    for id, other in pairs(by_id) do
      if other == conversation then
        by_id[id] = successor
      end
    end
    if current == conversation then
      current = successor
    end
    update_status()
  end,
  changed = update_status,
}

---@param workspace string
---@param open_first fun(conversation: segue.Conversation, callback: segue.OpenCallback)
---@param fallback? segue.Conversation
---@return segue.Conversation
local function add(workspace, open_first, fallback)
  local conversation = Conversation.new(owner, workspace, open_first, fallback)
  conversations[conversation] = true
  return conversation
end

---@param params table of `session/open`
---@return segue.Conversation
local function add_by_params(params)
  return add(params.workspace, function(_, callback)
    open_requests.open(params, callback)
  end)
end

---@param id string
---@return segue.Conversation
local function add_by_id(id)
  local params = open_requests.params({ session_id = id, tail = 0 })
  local conversation = add(params.workspace, function(self, callback)
    open_requests.open(params, function(err, result)
      if not err or err.kind ~= "SessionNotFound" then
        return callback(err, result)
      end
      self:notify_once(
        "deleted",
        "the conversation was deleted; new events start a new one",
        vim.log.levels.WARN
      )
      self:open_new(callback)
    end)
  end)
  by_id[id] = conversation
  return conversation
end

---@param id? string
---@return segue.Conversation?
local function find(id)
  if id then
    return by_id[id]
  end
  return current
end

---@param id? string
---@return segue.Conversation
local function find_or_add(id)
  local conversation = find(id)
  if conversation then
    return conversation
  elseif id then
    return add_by_id(id)
  end
  current = add_by_params(open_requests.params({ tail = 0 }))
  return current
end

--- Open a session and make its conversation the current one, see |segue.open()|.
---@param opts segue.OpenOptions
---@param callback? fun(err?: segue.Error, session?: segue.Session)
function M.open(opts, callback)
  local params = open_requests.params(opts)
  open_requests.open(params, function(err, result)
    if err then
      return callback and callback(err)
    end
    local id = result.session.sessionId
    local conversation = by_id[id]
    if not conversation or (conversation.record and conversation.record.id ~= id) then
      conversation = add_by_params(params)
    end
    conversation:adopt(result)
    if not conversation.closed then
      current = conversation
    end
    update_status()
    conversation:flush()
    if callback then
      callback(nil, assert(by_id[id]).record)
    end
  end)
end

--- Queue events until they are stored, see |segue.append()|.
---@param events segue.NewEvent|segue.NewEvent[]
---@param opts segue.AppendOptions
---@param callback? fun(err?: segue.Error, result?: segue.AppendResult)
---@return string[]? ids nil if one of the events can never be stored
function M.append(events, opts, callback)
  local pending, fault = Outbox.prepare(events)
  if pending then
    return find_or_add(opts.session_id):append(pending, callback)
  end
  local err = { code = -32602, message = assert(fault) }
  config.notify("nothing was appended: " .. err.message, vim.log.levels.ERROR)
  if callback then
    vim.schedule(function()
      callback(err)
    end)
  end
  return nil
end

--- Archive a session and open a new one in its place, see |segue.reset()|.
---@param opts segue.SessionOptions
---@param callback? fun(err?: segue.Error, session?: segue.Session)
function M.reset(opts, callback)
  local old = find(opts.session_id)
  if not old then
    return M.open({ mode = "new" }, callback)
  end
  local old_id = old.record and old.record.id
  -- If the reset fails, events appended meanwhile go back to the old conversation: it is the
  -- fallback.
  local new = add(old.workspace, function(_, on_opened)
    old:when_idle(function()
      old_id = old.record and old.record.id or old_id
      open_requests.reset(old.workspace, old_id, on_opened)
    end)
  end, old)
  new:when_opened(function(err, record)
    if not err then
      old:close(new)
      subscriptions.emit("reset", record, { from = old_id })
    end
    if callback then
      callback(err, record)
    end
  end)
  if current == old then
    current = new
  end
  if old_id then
    by_id[old_id] = new
  end
  new:flush()
end

---@param id? string
---@param callback? fun(err?: segue.Error)
---@param request fun(id: string, callback: fun(err?: segue.Error)) Archives or deletes the session
local function close_with(id, callback, request)
  local conversation = find(id)
  id = conversation and conversation.record and conversation.record.id or id
  if not id then
    local err = { code = -32602, message = "no conversation is open" }
    return callback and callback(err)
  end
  request(id, function(err)
    if conversation and not err then
      conversation:close()
    end
    if callback then
      callback(err)
    end
  end)
end

--- Archive a session once its queued events are stored, see |segue.archive()|.
---@param opts segue.SessionOptions
---@param callback? fun(err?: segue.Error)
function M.archive(opts, callback)
  close_with(opts.session_id, callback, function(id, on_archived)
    local function archive()
      server.request("session/archive", { sessionId = id }, function(err)
        if not err then
          server.request("session/close", { sessionId = id }, function() end)
        end
        on_archived(err)
      end)
    end
    local conversation = find(id)
    if conversation then
      conversation:when_idle(archive)
    else
      archive()
    end
  end)
end

--- Delete a session with all its events, see |segue.delete()|.
---@param opts segue.SessionOptions
---@param callback? fun(err?: segue.Error)
function M.delete(opts, callback)
  close_with(opts.session_id, callback, function(id, on_deleted)
    server.request("session/delete", { sessionId = id }, on_deleted)
  end)
end

--- The session of the current conversation, or nil if none is open.
---@return segue.Session?
function M.current()
  return current and current.record
end

--- The statusline text, see |segue.status()|. After the first call, changes redraw the statusline.
---@return string
function M.status()
  status_used = true
  return status
end

--- How many events of all conversations are not stored yet.
---@return integer
function M.unsent()
  local count = 0
  for conversation in pairs(conversations) do
    count = count + conversation.outbox:count()
  end
  return count
end

local function is_drained()
  return M.unsent() == 0 or server.is_unavailable()
end

local has_drained = false

-- Neovim exits: drain the outboxes within EXIT_TIMEOUT_MS; send what is left without waiting.
local function drain_on_exit()
  if has_drained or vim.v.exiting == vim.NIL then
    return
  end
  has_drained = true
  for conversation in pairs(conversations) do
    conversation:retry_now()
  end
  vim.wait(EXIT_TIMEOUT_MS, is_drained, 5)
  if M.unsent() == 0 then
    return
  end
  for conversation in pairs(conversations) do
    conversation:send_remaining()
  end
  local count = format.count(M.unsent(), "event")
  vim.notify(
    ("segue: %s not confirmed as stored before Neovim exited"):format(count),
    vim.log.levels.ERROR
  )
end

-- Both: Neovim's LSP client may stop the server before or after this autocommand runs.
server.before_shutdown(drain_on_exit)
vim.api.nvim_create_autocmd("VimLeavePre", {
  group = vim.api.nvim_create_augroup("segue_exit", { clear = true }),
  desc = "Segue: store queued events",
  callback = drain_on_exit,
})

return M
