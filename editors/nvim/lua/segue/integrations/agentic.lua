--- The integration of agentic.nvim: records its chats through its hooks, and opens sessions in it.
---
--- An agent that is behind `segue acp` is recorded there, with its tool calls, and loads any session.
--- Of others, agentic.nvim's hooks tell what is said, thought and planned; and its tool calls, where
--- the hook `on_session_update` is given them.

local agent_command = require("segue.integrations.agent_command")
local agent_turn = require("segue.integrations.agent_turn")
local config = require("segue.config")
local error_handler = require("segue.integrations.error_handler")
local format = require("segue.format")
local registry = require("segue.registry")
local server = require("segue.server")
local streamed_text = require("segue.streamed_text")
local workspaces = require("segue.workspace")

local M = {}

---@class segue.agentic.Recording
---@field conversation segue.Conversation
---@field workspace string
---@field agent string
---@field is_linked boolean The session knows what the agent calls it
---@field turn? segue.agentic.Turn nil while the agent is not asked anything

---@class segue.agentic.Turn
---@field said segue.AgentTurn
---@field handlers table<string, function> which take what the agent does
---@field thought? segue.StreamedText
---@field plan? table[] The last one

---@type table<string, segue.agentic.Recording> by the agent's session id
local recordings = {}

---@return boolean
local function is_enabled()
  return config.get().integrations.agentic ~= false
end

---@return table? config of agentic.nvim
local function agentic_config()
  local found, settings = pcall(require, "agentic.config")
  return found and type(settings) == "table" and settings or nil
end

---@param name any of a provider
---@return table
local function provider_of(name)
  local settings = agentic_config() or {}
  return settings.acp_providers and settings.acp_providers[name] or {}
end

---@param name any of a provider
---@return string
local function agent_name(name)
  local provider = provider_of(name)
  return type(provider.name) == "string" and provider.name or tostring(name)
end

---@param name any of a provider
---@return boolean
local function is_behind_proxy(name)
  local provider = provider_of(name)
  local command = vim.list_extend({ provider.command }, provider.args or {})
  return agent_command.is_wrapped(command)
end

-- Without it, the session could not be loaded by the agent later.
---@param recording segue.agentic.Recording
---@param agent_session_id string
local function link(recording, agent_session_id)
  local conversation = recording.conversation.heir or recording.conversation
  local record = conversation.record
  if recording.is_linked or not record then
    return
  end
  recording.is_linked = true
  local params = { sessionId = record.id, serverSessionId = agent_session_id }
  server.request("session/setServerSessionId", params, function(err)
    recording.is_linked = not err
  end)
end

---@param agent_session_id string
---@param events segue.NewEvent[]
local function record(agent_session_id, events)
  local recording = recordings[agent_session_id]
  if not recording or #events == 0 or not is_enabled() then
    return
  end
  local origin = { agent = recording.agent }
  registry.append_to(recording.conversation, events, origin, function(err)
    if not err then
      link(recording, agent_session_id)
    end
  end)
end

---@param agent_session_id string
---@return segue.agentic.Turn
local function begin_turn(agent_session_id)
  local handlers = {}
  local said = agent_turn.follow(handlers, function(events)
    record(agent_session_id, events)
  end)
  return { said = said, handlers = handlers }
end

-- What was thought, and said, comes before what follows in its order.
---@param agent_session_id string
---@param turn segue.agentic.Turn
local function end_thought(agent_session_id, turn)
  local rest = turn.thought and turn.thought:finish()
  turn.thought = nil
  record(agent_session_id, { rest })
end

---@param agent_session_id string
---@param turn segue.agentic.Turn
local function end_turn(agent_session_id, turn)
  end_thought(agent_session_id, turn)
  turn.said:finish()
  turn.said:flush()
  if turn.plan then
    record(agent_session_id, { { type = "plan", data = { entries = turn.plan } } })
  end
end

---@param data { prompt: string, session_id?: string }
local function on_prompt_submit(data)
  local id, provider = data.session_id, (agentic_config() or {}).provider
  if type(id) ~= "string" or type(data.prompt) ~= "string" or is_behind_proxy(provider) then
    return
  end
  local recording = recordings[id]
  local conversation = recording and recording.conversation
  while conversation and (conversation.heir or conversation.successor) do
    conversation = conversation.heir or conversation.successor
  end
  if not recording or not conversation or conversation.deleted then
    local workspace = workspaces.of_buffer()
    if not workspace then
      return config.notify(workspaces.UNKNOWN.message, vim.log.levels.ERROR)
    end
    conversation = registry.start(workspace)
    recording = { workspace = workspace, is_linked = false }
    recordings[id] = recording
  end
  recording.conversation, recording.agent = conversation, agent_name(provider)
  if recording.turn then
    end_turn(id, recording.turn)
  end
  record(id, { { type = "user_message", data = { content = data.prompt } } })
  registry.continue(conversation, recording.workspace)
  recording.turn = begin_turn(id)
end

---@param content any a ContentBlock of ACP
---@return string?
local function text_of(content)
  return type(content) == "table" and type(content.text) == "string" and content.text or nil
end

---@type table<string, fun(id: string, turn: segue.agentic.Turn, update: table)> by `sessionUpdate`
local updates = {
  agent_message_chunk = function(id, turn, update)
    local text = text_of(update.content)
    if text then
      end_thought(id, turn)
      turn.handlers.message_chunk(text)
    end
  end,
  agent_thought_chunk = function(id, turn, update)
    local text = text_of(update.content)
    if text then
      turn.said:flush()
      turn.thought = turn.thought
        or streamed_text.new(function(piece)
          record(id, { piece })
        end, "thinking")
      turn.thought:add(text)
    end
  end,
  tool_call = function(id, turn, update)
    end_thought(id, turn)
    turn.handlers.tool_call(update)
  end,
  tool_call_update = function(_, turn, update)
    turn.handlers.tool_update(update)
  end,
  plan = function(_, turn, update)
    turn.plan = type(update.entries) == "table" and update.entries or nil
  end,
}

-- Only during a turn: an agent that loads a session repeats what was said.
---@param data { session_id?: string, update: table }
local function on_session_update(data)
  local recording = recordings[data.session_id or ""]
  local handler = recording and recording.turn and updates[data.update.sessionUpdate]
  if handler then
    handler(data.session_id, recording.turn, data.update)
  end
end

---@param data { session_id?: string, success: boolean, error?: any }
local function on_response_complete(data)
  local recording = recordings[data.session_id or ""]
  if not recording or not recording.turn then
    return
  end
  end_turn(data.session_id, recording.turn)
  recording.turn = nil
  if not data.success then
    local message = type(data.error) == "table" and data.error.message or data.error
    local turn_end = { stop_reason = "error", error = tostring(message) }
    record(data.session_id, { { type = "turn_end", data = turn_end } })
  end
end

local OUR_HOOKS = {
  on_prompt_submit = error_handler.protect(on_prompt_submit),
  on_session_update = error_handler.protect(on_session_update),
  on_response_complete = error_handler.protect(on_response_complete),
}

---@type table<function, true>
local installed = {}
local is_subscribed = false

--- Record the chats of agentic.nvim from now on. The user's own hooks are called, too.
M.attach = error_handler.protect(function()
  local settings = agentic_config()
  if not settings or not is_enabled() then
    return
  end
  settings.hooks = settings.hooks or {}
  for name, ours in pairs(OUR_HOOKS) do
    local theirs = settings.hooks[name]
    if not installed[theirs] then
      local function hook(data)
        ours(data)
        if type(theirs) == "function" then
          theirs(data)
        end
      end
      installed[hook] = true
      settings.hooks[name] = hook
    end
  end
  if not is_subscribed then
    is_subscribed = true
    server.start() -- so that it is ready when Neovim exits in mid-answer
    registry.before_exit(error_handler.protect(function()
      for id, recording in pairs(recordings) do
        if recording.turn then
          end_turn(id, recording.turn)
        end
      end
    end))
  end
end)

-- The provider that can load a session, and what its agent calls it.
---@param session segue.Session
---@return string? provider, string? agent_session_id
local function find_agent(session)
  local settings = agentic_config()
  if not settings or not is_enabled() then
    return nil
  elseif is_behind_proxy(settings.provider) then
    return settings.provider, session.id
  end
  for name in pairs(session.server_session_id and settings.acp_providers or {}) do
    if agent_name(name) == session.agent then
      return name, session.server_session_id
    end
  end
end

---@param session segue.Session
---@param agent_session_id string
---@param manager table a SessionManager of agentic.nvim
local function load(session, agent_session_id, manager)
  manager.widget:show()
  manager:on_session_ready(error_handler.protect(function()
    local abilities = manager.agent.agent_capabilities
    if not (abilities and abilities.loadSession) then
      config.notify(session.agent .. " cannot load it; this is its transcript", vim.log.levels.WARN)
      return require("segue.transcript").show(session.id, {})
    end
    if agent_session_id ~= session.id then
      recordings[agent_session_id] = {
        conversation = assert(registry.of_session(session.id)),
        workspace = session.directory,
        is_linked = true,
      }
    end
    local time = format.time(session.last_event_at)
    manager:load_acp_session(agent_session_id, format.title(session), time)
  end))
end

--- Open a session in agentic.nvim, if it is installed and an agent of it can load the session.
---@param session segue.Session
---@return boolean is_opened
function M.restore(session)
  local provider, agent_session_id = find_agent(session)
  local found, sessions = pcall(require, "agentic.session_registry")
  local has_manager, Manager = pcall(require, "agentic.session_manager")
  if not provider or not found or not has_manager or not Manager.load_acp_session then
    return false
  end
  local settings = assert(agentic_config())
  M.attach()
  if settings.provider ~= provider then
    settings.provider = provider
    sessions.destroy_session()
  end
  local function on_manager(manager)
    load(session, assert(agent_session_id), manager)
  end
  return sessions.get_session_for_tab_page(nil, on_manager) ~= nil
end

return M
