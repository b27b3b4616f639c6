-- A connection to an agent (ACP), with the fields and functions of the real plugin's. Nothing here waits
-- for an answer: what the real one returns from a coroutine, this one does later.

local Connection = {}
Connection.__index = Connection

local M = {}

function M.new(args)
  return setmetatable({
    adapter = args.adapter,
    chat = args.chat,
    session_id = nil,
    _agent_info = nil,
    _callbacks = {},
    _rest = "",
  }, Connection)
end

function Connection:_read(data)
  self._rest = self._rest .. (data or "")
  while true do
    local line, rest = self._rest:match("^([^\n]*)\n(.*)$")
    if not line then
      return
    end
    self._rest = rest
    self:_handle(vim.json.decode(line))
  end
end

function Connection:_handle(message)
  if not message.method then
    local callback = self._callbacks[message.id]
    self._callbacks[message.id] = nil
    return callback(message.result)
  end
  local params = message.params
  if params.sessionId ~= self.session_id then
    return
  elseif self._on_session_update then
    self._on_session_update(params.update)
  elseif self._active_prompt and params.update.sessionUpdate == "agent_message_chunk" then
    self._active_prompt.handlers.message_chunk(params.update.content.text)
  end
end

function Connection:_ask(method, params, callback)
  self._id = (self._id or 0) + 1
  self._callbacks[self._id] = callback
  local request = { jsonrpc = "2.0", id = self._id, method = method, params = params }
  self._process:write(vim.json.encode(request) .. "\n")
end

function Connection:connect(callback)
  self._process = vim.system(self.adapter.commands.default, {
    stdin = true,
    stdout = function(_, data)
      vim.schedule(function()
        self:_read(data)
      end)
    end,
  })
  vim.api.nvim_create_autocmd("VimLeavePre", {
    callback = function()
      self:disconnect()
    end,
  })
  local client = { name = "CodeCompanion.nvim", version = "1.0.0" }
  self:_ask("initialize", { protocolVersion = 1, clientInfo = client }, function(result)
    self._agent_info = result
    callback()
  end)
end

function Connection:disconnect()
  if self._process then
    self._process:kill("sigterm")
  end
end

function Connection:_new_session()
  local params = { cwd = vim.fn.getcwd(), mcpServers = {} }
  self:_ask("session/new", params, function(result)
    self.session_id = result.sessionId
  end)
end

function Connection:ensure_session()
  if not self.session_id then
    self:_new_session()
  end
  return true
end

function Connection:load_session(id, opts)
  self.session_id = id
  self._on_session_update = opts.on_session_update
  local params = { sessionId = id, cwd = vim.fn.getcwd(), mcpServers = {} }
  local done, loaded = false, nil
  self:_ask("session/load", params, function(result)
    done, loaded, self._on_session_update = true, result, nil
  end)
  vim.wait(20000, function()
    return done
  end, 2)
  if not loaded then
    self.session_id, done = nil, false
    self:_new_session()
    vim.wait(20000, function()
      return self.session_id
    end, 2)
  end
  return self.session_id ~= nil
end

function Connection:session_list()
  local sessions
  self:_ask("session/list", { cwd = vim.fn.getcwd() }, function(result)
    sessions = result.sessions
  end)
  vim.wait(20000, function()
    return sessions
  end, 2)
  return sessions
end

function Connection:is_connected()
  return self._agent_info and self.session_id ~= nil
end

function Connection:prompt(messages, callback)
  local blocks = vim.tbl_map(function(message)
    return { type = "text", text = message.content }
  end, messages)
  self:_ask("session/prompt", { sessionId = self.session_id, prompt = blocks }, callback)
end

return M
