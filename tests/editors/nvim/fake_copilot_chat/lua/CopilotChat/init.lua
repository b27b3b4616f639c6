-- As in the real plugin, reading the chat again makes new tables of its messages, which keep fields
-- that it does not know; the input is the last message; and the chat cannot be written to while it
-- answers.

local M = { config = {}, model = nil }

local Chat = {}

function Chat:get_messages()
  self.messages = vim.tbl_map(function(message)
    return vim.tbl_extend("force", message, { content = vim.trim(message.content) })
  end, self.messages)
  return self.messages
end

function Chat:add_message(message, replace)
  local last = self.messages[#self.messages]
  if not last or last.role ~= message.role or (message.id and message.id ~= last.id) then
    message.id = message.id or tostring(#self.messages + 1)
    table.insert(self.messages, message)
  elseif replace then
    for name, value in pairs(message) do
      last[name] = value
    end
  end
end

local function finish()
  vim.bo[M.chat.bufnr].modifiable = true
  M.chat:add_message({ role = "user", content = "" })
end

function M.setup(config)
  M.config = config
  M.chat = setmetatable({ messages = {} }, { __index = Chat })
end

function M.open()
  if not M.chat.bufnr then
    M.chat.bufnr = vim.api.nvim_create_buf(false, true)
    vim.bo[M.chat.bufnr].filetype = "copilot-chat"
    vim.api.nvim_buf_set_name(M.chat.bufnr, "copilot-chat")
    finish()
  end
  vim.cmd.sbuffer(M.chat.bufnr)
end

function M.ask(prompt)
  M.open()
  vim.schedule(function()
    vim.bo[M.chat.bufnr].modifiable = false
    M.chat:add_message({ role = "user", content = "\n" .. prompt .. "\n" }, true)
    vim.defer_fn(function()
      local response = { role = "assistant", content = M.model(prompt) }
      if response.content then
        M.chat:add_message({ role = "assistant", content = "streamed" })
        M.config.callback(response, {})
        M.chat:add_message(response, true)
        finish()
      else
        M.chat:add_message({ role = "assistant", content = "I begin" })
      end
    end, 20)
  end)
end

function M.reset()
  M.chat.messages = {}
  finish()
end

function M.load(name, folder)
  M.reset()
  M.chat.messages = {}
  local text = table.concat(vim.fn.readfile(vim.fs.joinpath(folder, name .. ".json")), "\n")
  for _, message in ipairs(vim.json.decode(text)) do
    M.chat:add_message(message)
  end
  finish()
end

function M.save(name, folder)
  vim.fn.mkdir(folder, "p")
  local json = vim.json.encode(M.chat:get_messages())
  vim.fn.writefile({ json }, vim.fs.joinpath(folder, name .. ".json"))
end

return M
