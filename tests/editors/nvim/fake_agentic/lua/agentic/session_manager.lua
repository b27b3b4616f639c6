-- Hooks are called as by the real plugin: later, each with the agent's session id. Unlike some of its
-- versions, this one tells of tool calls, too.

local config = require("agentic.config")

local Manager = {}
Manager.__index = Manager

local function invoke(name, data)
  vim.schedule(function()
    if config.hooks[name] then
      pcall(config.hooks[name], data)
    end
  end)
end

function Manager:new(tab)
  local buffer = vim.api.nvim_create_buf(false, true)
  local manager = setmetatable({
    session_id = "s",
    tab_page_id = tab,
    agent = { agent_capabilities = { loadSession = vim.env.SEGUE_TEST_REPLAY ~= nil } },
    widget = {
      show = function()
        vim.cmd.sbuffer(buffer)
      end,
    },
    buffer = buffer,
  }, self)
  vim.bo[buffer].filetype = "AgenticChat"
  return manager
end

function Manager:on_session_ready(callback)
  vim.schedule(function()
    callback(self)
  end)
end

function Manager:_send(variable)
  for _, update in ipairs(vim.json.decode(vim.env[variable])) do
    local content = update.content and update.content.text
    if content then
      vim.api.nvim_buf_set_lines(self.buffer, -1, -1, false, vim.split(content, "\n"))
    end
    invoke("on_session_update", { session_id = self.session_id, update = update })
  end
end

function Manager:_handle_input_submit(text)
  invoke("on_prompt_submit", { prompt = text, session_id = self.session_id })
  vim.schedule(function()
    self:_send("SEGUE_TEST_UPDATES")
    invoke("on_response_complete", { session_id = self.session_id, success = true })
  end)
end

function Manager:load_acp_session(id)
  self.session_id = id
  self:_send("SEGUE_TEST_REPLAY")
end

return Manager
