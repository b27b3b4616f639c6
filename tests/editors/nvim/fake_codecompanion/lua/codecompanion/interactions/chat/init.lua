-- Messages have exactly the fields of the real plugin: `_meta.id` is a hash of the content, the text
-- and the calls of one reply are two messages, and outputs of one call are merged into one message.

local Chat = {}
Chat.__index = Chat

local chats, last_chat = {}, nil

-- Set by tests: the model, the tools by name, and the default adapter.
Chat.model = nil
Chat.tools = {}
Chat.adapter = "fake"

-- Set by tests: the updates that an agent (ACP) sends during the next turn.
Chat.agent_updates = nil

local function fire(event, data)
  vim.api.nvim_exec_autocmds("User", { pattern = "CodeCompanion" .. event, data = data })
end

local UI = {}
UI.__index = UI

function UI:open()
  vim.cmd("vsplit")
  vim.api.nvim_win_set_buf(0, self.chat.bufnr)
  return self
end

function UI:hide()
  local window = vim.fn.bufwinid(self.chat.bufnr)
  if window ~= -1 and #vim.api.nvim_list_wins() > 1 then
    vim.api.nvim_win_close(window, true)
  end
end

local HEADERS = { user = "## Me", llm = "## CodeCompanion (fake)" }

local function set_lines(bufnr, first, last, lines)
  vim.bo[bufnr].modifiable = true
  vim.api.nvim_buf_set_lines(bufnr, first, last, false, lines)
end

function UI:render(messages)
  local lines, last_role = {}, nil
  for index, message in ipairs(messages) do
    local hidden = message.opts and message.opts.visible == false
    if message.role ~= "system" and not hidden then
      if message.role ~= last_role and HEADERS[message.role] then
        vim.list_extend(lines, last_role and { "" } or {})
        vim.list_extend(lines, { HEADERS[message.role], "" })
      end
      vim.list_extend(lines, vim.split(message.content or "", "\n"))
      last_role = message.role
      -- The last message is the draft, which `submit` reads from the buffer.
      if index == #messages then
        table.remove(messages, index)
      end
    end
  end
  if #lines == 0 then
    lines = { HEADERS.user, "", "" }
  end
  set_lines(self.chat.bufnr, 0, -1, lines)
  return self
end

function Chat.new(args)
  local adapter = args.adapter or require("codecompanion.adapters").resolve(Chat.adapter)
  local model = adapter.schema and adapter.schema.model.default
  local self = setmetatable({
    adapter = adapter,
    settings = model and { model = model },
    buffer_context = args.buffer_context,
    callbacks = {},
    cycle = 1,
    from_prompt_library = args.from_prompt_library or false,
    header_line = 1,
    hidden = args.hidden or false,
    id = math.random(10000000),
    messages = args.messages or {},
    opts = args,
    title = args.title,
  }, Chat)
  self.ui = setmetatable({ chat = self }, UI)
  self.bufnr = vim.api.nvim_create_buf(false, true)
  vim.bo[self.bufnr].filetype = "codecompanion"
  chats[self.bufnr] = self
  if not self.hidden then
    if last_chat then
      last_chat.ui:hide()
    end
    self.ui:open()
    last_chat = self
  end
  self.ui:render(self.messages)
  self:find_header()
  self:set_system_prompt()
  for event, callback in pairs(args.callbacks or {}) do
    self:add_callback(event, callback)
  end
  for _, message in ipairs(self.messages) do
    message._meta = message._meta or {}
    message._meta.estimated_tokens = #(message.content or "")
  end
  fire("ChatCreated", {
    bufnr = self.bufnr,
    from_prompt_library = self.from_prompt_library,
    id = self.id,
  })
  if args.auto_submit then
    self:submit()
  end
  if adapter.commands then
    vim.schedule(function()
      self:connect()
    end)
  end
  return self
end

-- An agent that has a command is really run.
function Chat:connect()
  if not self.acp_connection then
    self.acp_connection = require("codecompanion.acp").new({ adapter = self.adapter, chat = self })
  end
  local connection = self.acp_connection
  connection:connect(function()
    fire("ACPConnected", { bufnr = self.bufnr })
    connection:ensure_session()
  end)
end

function Chat.buf_get_chat(bufnr)
  if not bufnr then
    return vim.iter(pairs(chats)):map(function(_, chat)
      return { name = "", description = "", title = chat.title, chat = chat }
    end):totable()
  end
  return chats[bufnr == 0 and vim.api.nvim_get_current_buf() or bufnr]
end

function Chat.last_chat()
  return last_chat
end

function Chat:find_header()
  for index, line in ipairs(vim.api.nvim_buf_get_lines(self.bufnr, 0, -1, false)) do
    if line == HEADERS.user then
      self.header_line = index
    end
  end
end

function Chat:set_system_prompt()
  table.insert(self.messages, 1, {
    role = "system",
    content = "You are an AI.",
    opts = { visible = false },
    _meta = { cycle = self.cycle, id = 1, index = 1, tag = "system_prompt_from_config" },
  })
end

function Chat:set_title(title)
  self.title = title
  pcall(vim.api.nvim_buf_set_name, self.bufnr, title)
end

function Chat:add_callback(event, callback)
  self.callbacks[event] = self.callbacks[event] or {}
  table.insert(self.callbacks[event], callback)
end

function Chat:dispatch(event, data)
  for _, callback in ipairs(self.callbacks[event] or {}) do
    pcall(callback, self, data)
  end
end

function Chat:add_message(data, opts)
  opts = opts or { visible = true }
  if opts.visible == nil then
    opts.visible = true
  end
  local message = {
    role = data.role,
    content = data.content,
    reasoning = data.reasoning,
    tools = data.tool_calls and { calls = data.tool_calls } or nil,
    context = opts.context,
    opts = { visible = opts.visible },
    _meta = vim.tbl_extend("force", { cycle = self.cycle }, opts._meta or {}),
  }
  message._meta.id = vim.fn.sha256(vim.inspect({ data.role, data.content, data.tool_calls }))
  message._meta.index = #self.messages + 1
  table.insert(self.messages, message)
end

function Chat:add_context(data, source, id)
  self:add_message(
    { role = data.role or "user", content = data.content },
    { context = { id = id }, visible = false, _meta = { tag = source } }
  )
  set_lines(self.bufnr, -1, -1, { "> Context:", "> - " .. id, "" })
end

function Chat:add_tool_output(tool, for_llm)
  local id = tool.function_call.id
  for _, message in ipairs(self.messages) do
    if message.tools and message.tools.call_id == id then
      message.content = message.content .. "\n\n" .. for_llm
      return
    end
  end
  table.insert(self.messages, {
    role = "tool",
    content = for_llm,
    tools = { call_id = id, name = tool.name },
    opts = { visible = true },
    _meta = { cycle = self.cycle, id = vim.fn.sha256(for_llm) },
  })
end

function Chat:add_lines(content)
  set_lines(self.bufnr, -1, -1, vim.split(content, "\n"))
end

local function prompt_text(self)
  local lines = vim.api.nvim_buf_get_lines(self.bufnr, self.header_line, -1, false)
  return vim.trim(table.concat(
    vim.tbl_filter(function(line)
      return not vim.startswith(line, ">")
    end, lines),
    "\n"
  ))
end

function Chat:submit(opts)
  opts = opts or {}
  if self.current_request then
    return
  end
  if not opts.auto_submit then
    local content = prompt_text(self)
    self:dispatch("on_before_submit", {})
    self:add_message({ role = "user", content = content })
    self:add_lines("\n" .. HEADERS.llm .. "\n")
  end
  self:dispatch("on_checkpoint", { messages = self.messages })
  self:dispatch("on_submitted", { payload = { messages = self.messages } })
  local request = {}
  self.current_request = request
  if self.adapter.commands then
    return self:prompt_agent()
  end
  if Chat.agent_updates then
    return self:run_agent(Chat.agent_updates)
  end
  local sent = vim.deepcopy(self.messages)
  vim.schedule(function()
    if self.current_request == request then
      local reply = Chat.model(sent)
      if reply.chunks then
        return self:stream(reply, 1)
      end
      self:done(reply)
    end
  end)
  fire("ChatSubmitted", { bufnr = self.bufnr, id = self.id, type = self.adapter.type })
end

function Chat:add_buf_message(data)
  self:add_lines(data.content)
end

function Chat:stream(reply, index)
  local chunk = reply.chunks[index]
  if chunk then
    self:add_buf_message({ role = "llm", content = chunk }, { type = "llm_message" })
    return vim.defer_fn(function()
      self:stream(reply, index + 1)
    end, reply.pause_ms)
  elseif not reply.hangs then
    self:done({ text = vim.trim(table.concat(reply.chunks)) })
  end
end

local AGENT_HANDLERS = {
  agent_message_chunk = "message_chunk",
  tool_call = "tool_call",
  tool_call_update = "tool_update",
}

function Chat:run_agent(updates)
  local said = {}
  local prompt = {
    handlers = {
      message_chunk = function(text)
        table.insert(said, text)
      end,
      tool_call = function() end,
      tool_update = function() end,
    },
  }
  self.acp_connection = { _active_prompt = prompt }
  fire("ChatSubmitted", { bufnr = self.bufnr, id = self.id, type = "acp" })
  vim.schedule(function()
    fire("RequestStarted", { bufnr = self.bufnr, adapter = { type = "acp" } })
    for _, update in ipairs(updates) do
      local handler = prompt.handlers[AGENT_HANDLERS[update.sessionUpdate]]
      handler(update.sessionUpdate == "agent_message_chunk" and update.content.text or update)
    end
    self:done({ text = vim.trim(table.concat(said)) })
  end)
end

function Chat:prompt_agent()
  local said = {}
  local prompt = {
    handlers = {
      message_chunk = function(text)
        table.insert(said, text)
      end,
      tool_call = function() end,
      tool_update = function() end,
    },
  }
  local unsent = vim.tbl_filter(function(message)
    return message.role == "user" and not message._meta.sent
  end, self.messages)
  fire("ChatSubmitted", { bufnr = self.bufnr, id = self.id, type = "acp" })
  self.acp_connection._active_prompt = prompt
  fire("RequestStarted", { bufnr = self.bufnr, adapter = { type = "acp" } })
  self.acp_connection:prompt(unsent, function()
    self:done({ text = vim.trim(table.concat(said)) })
  end)
end

function Chat:done(reply)
  self.current_request = nil
  if not vim.api.nvim_buf_is_valid(self.bufnr) then
    return
  end
  if reply.text then
    self:add_message({ role = "llm", content = reply.text })
    self:add_lines(reply.text)
  end
  for _, message in ipairs(self.messages) do
    if message.role == "user" then
      message._meta.sent = true
    end
  end
  if reply.calls then
    self:add_message({ role = "llm", tool_calls = reply.calls }, { visible = false })
    return self:run_tools(reply.calls)
  end
  self:dispatch("on_checkpoint", { messages = self.messages })
  self:finish()
end

function Chat:run_tools(calls)
  local id = math.random(10000000)
  fire("ToolsStarted", { id = id, bufnr = self.bufnr })
  for _, call in ipairs(calls) do
    local name = call["function"].name
    Chat.tools[name](self, { name = name, function_call = call })
    fire("ToolFinished", {
      bufnr = self.bufnr,
      id = id,
      name = name,
      args = vim.json.decode(call["function"].arguments),
    })
  end
  fire("ToolsFinished", { bufnr = self.bufnr, id = id })
  vim.schedule(function()
    self:submit({ auto_submit = true })
  end)
end

function Chat:ready_for_input()
  self.cycle = self.cycle + 1
  self:add_lines("\n" .. HEADERS.user .. "\n\n")
  self:find_header()
  self:dispatch("on_ready")
end

function Chat:finish()
  self:ready_for_input()
  self:dispatch("on_completed", { status = "success" })
  fire("ChatDone", { bufnr = self.bufnr, id = self.id })
end

function Chat:stop()
  fire("ChatStopped", { bufnr = self.bufnr, id = self.id })
  self.current_request = nil
  vim.schedule(function()
    self:finish()
  end)
end

function Chat:clear()
  self.cycle = 1
  self.header_line = 1
  self.messages = {}
  self.ui:render(self.messages)
  self:set_system_prompt()
  fire("ChatCleared", { bufnr = self.bufnr, id = self.id })
end

function Chat:close()
  self:dispatch("on_closed")
  if self.acp_connection and self.acp_connection.disconnect then
    self.acp_connection:disconnect()
  end
  if last_chat == self then
    last_chat = nil
  end
  fire("ChatClosed", { bufnr = self.bufnr, id = self.id })
  chats[self.bufnr] = nil
  pcall(vim.api.nvim_buf_delete, self.bufnr, { force = true })
end

Chat.fire = fire

return Chat
