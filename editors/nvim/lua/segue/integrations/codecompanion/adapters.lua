--- Which adapter and model answer in a chat, and the same ones again for a chat that is restored.

local format = require("segue.format")
local proxy = require("segue.integrations.codecompanion.proxy")

local M = {}

---@type table<string, string> adapters by what their agents call themselves, as the proxy stores it
local known_agents = {}

---@param value any
---@return string?
local function string_or_nil(value)
  return type(value) == "string" and value ~= "" and value or nil
end

-- The default of a schema may be a function that asks a service: it is not called.
---@param chat table
---@return string?
local function model_of(chat)
  local adapter = chat.adapter
  if adapter.type == "acp" then
    local connected, models = pcall(function()
      return chat.acp_connection:get_models()
    end)
    return connected and models and string_or_nil(models.currentModelId)
      or string_or_nil(adapter.defaults and adapter.defaults.model)
  end
  local schema = adapter.schema and adapter.schema.model
  return string_or_nil(chat.settings and chat.settings.model)
    or string_or_nil(schema and schema.default)
    or string_or_nil(adapter.model and adapter.model.name)
end

--- Who answers in a chat; empty if that cannot be read. Never raises an error: messages are recorded
--- whatever becomes of adapters.
---@param chat table
---@return segue.Origin
function M.origin(chat)
  local ok, origin = pcall(function()
    return { agent = string_or_nil(chat.adapter.name), model = model_of(chat) }
  end)
  return ok and origin or {}
end

--- Remember which adapter has the agent of a chat, which the proxy names in the agent's own way.
---@param chat table whose agent is connected
function M.learn(chat)
  local name = proxy.agent_name(chat)
  if name then
    known_agents[name] = chat.adapter.name
  end
end

---@param name string
---@return table? adapter
local function find_adapter(name)
  local configured = require("codecompanion.config").adapters
  for _, kind in ipairs({ "http", "acp" }) do
    if type(configured[kind]) == "table" and configured[kind][name] then
      return require("codecompanion.adapters").resolve(name)
    end
  end
end

-- Choices that are a function are not known without a request: such a model is used.
---@param adapter table
---@param model string
---@return boolean
local function has_model(adapter, model)
  local schema = adapter.schema and adapter.schema.model
  if adapter.type == "acp" then
    return true
  end
  local choices = schema and schema.choices
  if type(choices) ~= "table" then
    return schema ~= nil
  end
  return schema.default == model or choices[model] ~= nil or vim.list_contains(choices, model)
end

---@class segue.codecompanion.Choice
---@field params? { adapter: string, model?: string } of a new chat; nil: its default
---@field agent_model? string For an agent (ACP), to which it is given when it is connected
---@field missing? string What was stored with the session and is not configured

--- The adapter and the model that a session was had with, as far as they are configured.
---@param session { agent?: string, model?: string }
---@return segue.codecompanion.Choice
function M.choose(session)
  local name, model = known_agents[session.agent] or session.agent, session.model
  if not name then
    return {}
  end
  local found, adapter = pcall(find_adapter, name)
  if not found or not adapter then
    return { missing = name }
  elseif not model then
    return { params = { adapter = name } }
  elseif not has_model(adapter, model) then
    return { params = { adapter = name }, missing = model }
  elseif adapter.type == "acp" then
    return { params = { adapter = name }, agent_model = model }
  end
  return { params = { adapter = name, model = model } }
end

--- Apply what a chat cannot be opened with, and return a line for the user if something is missing.
---@param chat table just opened with the params of *choice*
---@param choice segue.codecompanion.Choice
---@return string?
function M.complete(chat, choice)
  if choice.agent_model then
    chat.adapter.defaults = chat.adapter.defaults or {}
    chat.adapter.defaults.model = choice.agent_model
  elseif choice.missing then
    local used = format.origin(M.origin(chat)) or "the default"
    return ("%s is not configured; this chat uses %s"):format(choice.missing, used)
  end
end

return M
