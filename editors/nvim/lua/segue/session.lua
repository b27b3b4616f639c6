--- The conversations that this Neovim has open, and what people and other plugins do with them.

local Conversation = require("segue.conversation")
local Outbox = require("segue.outbox")
local config = require("segue.config")
local listeners = require("segue.listeners")
local opening = require("segue.opening")
local server = require("segue.server")
local text = require("segue.text")

local M = {}

local LAST_MOMENT_MS = 1500

local conversations = {} ---@type table<segue.Conversation, true>
local by_id = {} ---@type table<string, segue.Conversation> by every id that a conversation had here
local current ---@type segue.Conversation?

local status_text = ""
local status_asked = false

local function update_status()
  local now = ""
  if current and current.record then
    local count = current.outbox:count()
    local unsent = count > 0 and (" +%d"):format(count) or ""
    now = ("segue %d%s"):format(current.record.event_count, unsent)
  end
  if now ~= status_text then
    status_text = now
    if status_asked then
      vim.schedule(function()
        vim.cmd.redrawstatus({ bang = true })
      end)
    end
  end
end

---@type segue.Registry
local registry = {
  claim = function(conversation, id)
    local other = by_id[id]
    if other and other ~= conversation and other.record and other.record.id == id then
      return other
    end
    by_id[id] = conversation
  end,
  drop = function(conversation, heir)
    conversations[conversation] = nil
    for id, other in pairs(by_id) do
      if other == conversation then
        by_id[id] = heir
      end
    end
    if current == conversation then
      current = heir
    end
    update_status()
  end,
  changed = update_status,
}

---@param workspace string
---@param how fun(conversation: segue.Conversation, done: segue.Opened)
---@param fallback? segue.Conversation
---@return segue.Conversation
local function add(workspace, how, fallback)
  local conversation = Conversation.new(registry, workspace, how, fallback)
  conversations[conversation] = true
  return conversation
end

---@param params table of `session/open`
---@return segue.Conversation
local function add_by(params)
  return add(params.workspace, function(_, done)
    opening.ask(params, done)
  end)
end

---@param id string
---@return segue.Conversation
local function add_by_id(id)
  local params = opening.params({ session_id = id, tail = 0 })
  local conversation = add(params.workspace, function(self, done)
    opening.ask(params, function(err, result)
      if not err or err.kind ~= "SessionNotFound" then
        return done(err, result)
      end
      self:say(
        "deleted",
        "the conversation was deleted; what you say now begins a new one",
        vim.log.levels.WARN
      )
      self:open_anew(done)
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
  current = add_by(opening.params({ tail = 0 }))
  return current
end

---@param opts segue.OpenOptions
---@param callback? fun(err?: segue.Error, session?: segue.Session)
function M.open(opts, callback)
  local params = opening.params(opts)
  opening.ask(params, function(err, result)
    if err then
      return callback and callback(err)
    end
    local id = result.session.sessionId
    local conversation = by_id[id]
    if not conversation or (conversation.record and conversation.record.id ~= id) then
      conversation = add_by(params)
    end
    conversation:take(result)
    if not conversation.dropped then
      current = conversation
    end
    update_status()
    conversation:flush()
    if callback then
      callback(nil, assert(by_id[id]).record)
    end
  end)
end

---@param events segue.NewEvent|segue.NewEvent[]
---@param opts segue.AppendOptions
---@param callback? fun(err?: segue.Error, result?: segue.AppendResult)
---@return string[]? ids
function M.append(events, opts, callback)
  local unsent, fault = Outbox.checked(events)
  if unsent then
    return find_or_add(opts.session_id):append(unsent, callback)
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

---@param opts { session_id?: string }
---@param callback? fun(err?: segue.Error, session?: segue.Session)
function M.reset(opts, callback)
  local old = find(opts.session_id)
  if not old then
    return M.open({ mode = "new" }, callback)
  end
  local old_id = old.record and old.record.id
  -- If nothing is reset, what was said meanwhile belongs to the old one, which is still there.
  local fresh = add(old.workspace, function(_, done)
    old:when_idle(function()
      old_id = old.record and old.record.id or old_id
      opening.in_place_of(old.workspace, old_id, done)
    end)
  end, old)
  fresh:when_opened(function(err, record)
    if not err then
      old:drop(fresh)
      listeners.tell("reset", record, { from = old_id })
    end
    if callback then
      callback(err, record)
    end
  end)
  if current == old then
    current = fresh
  end
  if old_id then
    by_id[old_id] = fresh
  end
  fresh:flush()
end

---@param id? string
---@param callback? fun(err?: segue.Error)
---@param ask fun(id: string, done: fun(err?: segue.Error))
local function put_away(id, callback, ask)
  local conversation = find(id)
  id = conversation and conversation.record and conversation.record.id or id
  if not id then
    local err = { code = -32602, message = "no conversation is open" }
    return callback and callback(err)
  end
  ask(id, function(err)
    if conversation and not err then
      conversation:drop()
    end
    if callback then
      callback(err)
    end
  end)
end

---@param opts { session_id?: string }
---@param callback? fun(err?: segue.Error)
function M.archive(opts, callback)
  put_away(opts.session_id, callback, function(id, done)
    local function archive()
      server.request("session/archive", { sessionId = id }, function(err)
        if not err then
          server.request("session/close", { sessionId = id }, function() end)
        end
        done(err)
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

---@param opts { session_id?: string }
---@param callback? fun(err?: segue.Error)
function M.delete(opts, callback)
  put_away(opts.session_id, callback, function(id, done)
    server.request("session/delete", { sessionId = id }, done)
  end)
end

---@return segue.Session?
function M.current()
  return current and current.record
end

---@return string
function M.status()
  status_asked = true
  return status_text
end

---@return integer
function M.unsent()
  local count = 0
  for conversation in pairs(conversations) do
    count = count + conversation.outbox:count()
  end
  return count
end

local function settled()
  return M.unsent() == 0 or server.is_hopeless()
end

local ended = false

-- Bring what is not stored yet to the server, in the little time that there is.
local function finish()
  if ended or vim.v.exiting == vim.NIL then
    return
  end
  ended = true
  for conversation in pairs(conversations) do
    conversation:try_now()
  end
  vim.wait(LAST_MOMENT_MS, settled, 5)
  if M.unsent() == 0 then
    return
  end
  for conversation in pairs(conversations) do
    conversation:send_the_rest()
  end
  vim.notify(
    ("segue: Neovim ended before %s could be stored"):format(text.count(M.unsent(), "event")),
    vim.log.levels.ERROR
  )
end

server.before_end(finish)
vim.api.nvim_create_autocmd("VimLeavePre", {
  group = vim.api.nvim_create_augroup("segue_end", { clear = true }),
  desc = "Segue: store what is not stored yet",
  callback = finish,
})

return M
