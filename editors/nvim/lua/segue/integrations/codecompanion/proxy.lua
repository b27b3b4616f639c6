--- Agents (ACP) behind `segue acp`, which records what is said to them: it is not recorded here, too.

local agent_command = require("segue.integrations.agent_command")

local M = {}

-- Keys of `adapters.acp` in CodeCompanion's settings that are no adapters.
local NO_ADAPTERS = { extend = true, opts = true }

---@type table<function, true> entries of `adapters.acp` that were wrapped here
local wrapped_entries = {}

---@param chat table
---@return table? result of `initialize`; nil until the agent is connected
local function agent_info(chat)
  local connection = chat.acp_connection
  local info = connection and connection._agent_info
  return type(info) == "table" and info or nil
end

--- Whether the agent of a chat is behind the proxy. The agent's own answer says so; until it is
--- connected, the command that runs it.
---@param chat table
---@return boolean
function M.records(chat)
  local adapter = chat.adapter
  if type(adapter) ~= "table" or adapter.type ~= "acp" then
    return false
  end
  local meta = (agent_info(chat) or {})._meta
  if type(meta) == "table" and meta.segue ~= nil then
    return true
  end
  local commands = adapter.commands or {}
  return agent_command.is_wrapped(commands.selected or commands.default)
end

--- The session that the proxy records a chat into, if it is connected.
---@param chat table
---@return string?
function M.session_id(chat)
  local id = chat.acp_connection and chat.acp_connection.session_id
  return M.records(chat) and type(id) == "string" and id or nil
end

--- What the agent of a chat calls itself, and the proxy's sessions with it: `session.agent`.
---@param chat table
---@return string?
function M.agent_name(chat)
  local info = (agent_info(chat) or {}).agentInfo
  if type(info) == "table" and M.records(chat) then
    return type(info.title) == "string" and info.title or info.name
  end
end

---@param commands? table<string, any> of an adapter
local function wrap_commands(commands)
  for name, command in pairs(commands or {}) do
    if vim.islist(command) and #command > 0 and not agent_command.is_wrapped(command) then
      commands[name] = vim.list_extend(require("segue.server").agent_proxy(), command)
    end
  end
end

---@param entry string|table|function of `adapters.acp`
---@return function
local function wrap_entry(entry)
  local function wrapped()
    local adapter = require("codecompanion.adapters.acp").extend(entry)
    wrap_commands(adapter.commands)
    return adapter
  end
  wrapped_entries[wrapped] = true
  return wrapped
end

--- Let CodeCompanion run every agent behind the proxy from now on, in this Neovim.
---@return string[] names of the adapters
function M.wrap_all()
  local names = {}
  local entries = require("codecompanion.config").adapters.acp or {}
  for name, entry in pairs(entries) do
    if not NO_ADAPTERS[name] and entry then
      table.insert(names, name)
      entries[name] = wrapped_entries[entry] and entry or wrap_entry(entry)
    end
  end
  for _, patch in pairs(entries.extend or {}) do
    wrap_commands(patch.commands)
  end
  table.sort(names)
  return names
end

--- Let a chat that was just opened run its agent behind the proxy.
---@param chat table whose agent is not started yet
function M.wrap_chat(chat)
  if chat.adapter.type == "acp" and not agent_info(chat) then
    wrap_commands(chat.adapter.commands)
  end
end

--- Let the agent of a chat load the session that the chat shows, in place of a new one. What the
--- agent replays is not shown again.
---@param chat table just opened, whose agent is not started yet
---@param id string
---@param on_connected fun(loaded: boolean) false: the agent has a new session, or none
function M.load(chat, id, on_connected)
  local connection = require("codecompanion.acp").new({ adapter = chat.adapter, chat = chat })
  -- CodeCompanion calls this once the agent is connected. There is no other way in: it begins a new
  -- session at once, and drops what the agent says of another one.
  function connection.ensure_session(self)
    self.ensure_session = nil
    self:load_session(id, { on_session_update = function() end })
    on_connected(self.session_id == id)
    return self.session_id ~= nil
  end
  chat.acp_connection = connection
end

return M
