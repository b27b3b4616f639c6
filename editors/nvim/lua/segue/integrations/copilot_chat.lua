--- The integration of CopilotChat.nvim: records its chat, and opens sessions in it.
---
--- It has one hook, `callback`, which is called with each answer that is complete. What it is not
--- called for, such as the answer after tools that run by themselves, is read from the chat when it is
--- called next, when the chat is left, and when Neovim exits.

local config = require("segue.config")
local error_handler = require("segue.integrations.error_handler")
local pieces = require("segue.pieces")
local registry = require("segue.registry")
local server = require("segue.server")
local uuid = require("segue.uuid")
local workspaces = require("segue.workspace")

local M = {}

--- What answers in the sessions that are recorded here.
M.AGENT = "CopilotChat"

local MAX_RESTORED_EVENTS = 1000
local FILE_NAME = "segue"

-- CopilotChat keeps the fields of messages that it does not know, and saves them:
-- `segue_recorded`, and `segue_session`, the session that has the message.

---@type segue.Conversation? that got the last answer
local conversation
---@type table<string, true> sessions whose messages were recorded, or restored, by this Neovim
local known_sessions = {}

---@return boolean
local function is_enabled()
  return config.get().integrations.copilot_chat ~= false
end

---@return table? copilot_chat nil if it is not set up yet
local function loaded_plugin()
  local plugin = package.loaded["CopilotChat"]
  return type(plugin) == "table" and plugin.chat and plugin.config and plugin or nil
end

---@param text any
---@return string
local function trimmed(text)
  return type(text) == "string" and vim.trim(text) or ""
end

---@param arguments any JSON text
---@return any
local function parse_arguments(arguments)
  if trimmed(arguments) == "" then
    return vim.empty_dict()
  end
  local ok, input = pcall(vim.json.decode, arguments)
  return ok and input or arguments
end

---@param message table of CopilotChat
---@return segue.NewEvent[]
local function to_events(message)
  local content, events = trimmed(message.content), {}
  if message.role == "tool" then
    local id = tostring(message.tool_call_id or message.id)
    local data = { tool_use_id = id, content = content, is_error = false }
    return { { type = "tool_result", data = data } }
  elseif message.role ~= "user" and message.role ~= "assistant" then
    return {}
  elseif content ~= "" then
    local type = message.role == "user" and "user_message" or "text"
    table.insert(events, { type = type, data = { content = content } })
  end
  for _, call in ipairs(message.tool_calls or {}) do
    local input = parse_arguments(call.arguments)
    local data = { id = tostring(call.id), name = tostring(call.name), input = input }
    table.insert(events, { type = "tool_call", data = data })
  end
  return events
end

-- A chat that was cleared is another conversation; one that was loaded from a file, that of the
-- session which the file names.
---@param messages table[]
---@param workspace string
---@return segue.Conversation
local function conversation_of(messages, workspace)
  local is_recorded, noted = false, nil ---@type boolean, string?
  for _, message in ipairs(messages) do
    is_recorded = is_recorded or message.segue_recorded == true
    noted = message.segue_session or noted
  end
  if noted and not known_sessions[noted] then
    known_sessions[noted] = true
    return registry.reopen(noted)
  end
  local found = is_recorded and conversation or nil
  while found and (found.heir or found.successor) do
    found = found.heir or found.successor
  end
  return found and not found.deleted and found or registry.start(workspace)
end

-- The messages of the chat are other tables after it was read again.
---@param plugin table
---@param target segue.Conversation
local function note_session(plugin, target)
  local session = (target.heir or target).record
  if not session or target ~= conversation then
    return
  end
  known_sessions[session.id] = true
  for _, message in ipairs(plugin.chat:get_messages()) do
    if message.segue_recorded and not message.segue_session then
      message.segue_session = session.id
    end
  end
end

---@param plugin table
---@param messages table[] of the chat, in their order
local function record(plugin, messages)
  local workspace = workspaces.of_buffer()
  local events, new = {}, {}
  for _, message in ipairs(messages) do
    if not message.segue_recorded then
      vim.list_extend(events, to_events(message))
      table.insert(new, message)
    end
  end
  if #events == 0 or not workspace or not is_enabled() then
    return
  end
  local target = conversation_of(messages, workspace)
  conversation = target
  for _, message in ipairs(new) do
    message.segue_recorded = true
  end
  local model = type(plugin.config.model) == "string" and plugin.config.model or nil
  registry.append_to(target, events, { agent = M.AGENT, model = model }, function(err)
    if not err then
      error_handler.protect(note_session)(plugin, target)
    end
  end)
  registry.continue(target, workspace)
end

-- While it answers, and only then, the user cannot write in the chat. A question without a chat
-- (`headless`) is none of its messages.
---@param plugin table
---@return boolean
local function is_answering(plugin)
  local bufnr = plugin.chat.bufnr
  return bufnr ~= nil and vim.api.nvim_buf_is_valid(bufnr) and not vim.bo[bufnr].modifiable
end

---@param response table
local on_answer = error_handler.protect(function(response)
  local plugin = loaded_plugin()
  if not plugin or not is_answering(plugin) then
    return
  end
  local messages = vim.list_slice(plugin.chat:get_messages())
  local last = messages[#messages]
  if last and last.role == "assistant" and not last.segue_recorded then
    table.remove(messages) -- the answer, as it was streamed
  end
  table.insert(messages, response)
  record(plugin, messages)
end)

---@param takes_all boolean Also what is not complete
local function record_rest(takes_all)
  local plugin = loaded_plugin()
  local bufnr = plugin and plugin.chat.bufnr
  if not plugin or not bufnr or not vim.api.nvim_buf_is_valid(bufnr) then
    return
  elseif is_answering(plugin) and not takes_all then
    return
  end
  local messages = vim.list_slice(plugin.chat:get_messages())
  local last = messages[#messages]
  if last and last.role == "user" and not is_answering(plugin) then
    table.remove(messages) -- the draft
  end
  record(plugin, messages)
end

---@type table<function, true>
local installed = {}
local is_subscribed = false

--- Record the chat of CopilotChat.nvim from now on. The user's own callback is called, too.
M.attach = error_handler.protect(function()
  local plugin = loaded_plugin()
  if not plugin or not is_enabled() then
    return
  end
  local theirs = plugin.config.callback
  if not installed[theirs] then
    local function callback(response, source)
      on_answer(response)
      if theirs then
        return theirs(response, source)
      end
    end
    installed[callback] = true
    plugin.config.callback = callback
  end
  if not is_subscribed then
    is_subscribed = true
    server.start() -- so that it is ready when Neovim exits in mid-answer
    vim.api.nvim_create_autocmd("BufLeave", {
      group = vim.api.nvim_create_augroup("segue_copilot_chat", { clear = true }),
      pattern = "copilot-chat",
      desc = "Segue: record the chat of CopilotChat.nvim",
      callback = error_handler.protect(function()
        record_rest(false)
      end),
    })
    registry.before_exit(error_handler.protect(function()
      record_rest(true)
    end))
  end
end)

--- Whether a session belongs in CopilotChat.nvim, and that is installed.
---@param session segue.Session
---@return boolean
function M.accepts(session)
  local is_its_own = session.agent == M.AGENT or session.source == "copilot-chat"
  return is_its_own and is_enabled() and (pcall(require, "CopilotChat"))
end

---@param session segue.Session
---@param events segue.Event[]
---@return table[] messages of CopilotChat; a question at the end is the draft
local function to_messages(session, events)
  local messages, last_answer = {}, 0
  for _, group in ipairs(pieces.group(events)) do
    local event = pieces.join(group)
    local role = ({ user_message = "user", text = "assistant" })[event.type]
    if role and not event.corrupt then
      table.insert(messages, {
        id = uuid.v7(),
        role = role,
        content = "\n" .. event.data.content .. "\n",
        segue_recorded = true,
        segue_session = session.id,
      })
      last_answer = role == "assistant" and #messages or last_answer
    end
  end
  for index = last_answer + 1, #messages do
    messages[index].segue_recorded, messages[index].segue_session = nil, nil
  end
  return messages
end

--- Show what was said in a session in the chat of CopilotChat.nvim, in place of what is there, and
--- record the chat into the session. Errors are shown to the user.
---@param session segue.Session
function M.restore(session)
  local opts = { session_id = session.id, limit = MAX_RESTORED_EVENTS }
  require("segue").events(opts, error_handler.protect(function(err, page)
    if err then
      return config.notify(err.message, vim.log.levels.ERROR)
    end
    local plugin = require("CopilotChat")
    local folder = vim.fn.tempname()
    vim.fn.mkdir(folder, "p", tonumber("700", 8))
    local json = vim.json.encode(to_messages(session, page.events))
    vim.fn.writefile({ json }, vim.fs.joinpath(folder, FILE_NAME .. ".json"))
    plugin.open()
    M.attach()
    record_rest(true)
    plugin.load(FILE_NAME, folder)
    vim.fn.delete(folder, "rf")
    conversation = registry.of_session(session.id)
    known_sessions[session.id] = true
  end))
end

return M
