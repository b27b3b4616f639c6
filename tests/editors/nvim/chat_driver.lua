-- Drives chats of CodeCompanion with scripted model replies: of the fake plugin beside this file, or
-- of the real one. Tests use both in the same way.

local M = {}

local here = vim.fs.dirname(debug.getinfo(1, "S").source:sub(2))

-- The messages of each request to the model, its next replies, and the functions of its tools.
M.sent = {}
M.replies = {}
M.tools = {}

local function next_reply()
  local reply = table.remove(M.replies, 1) or { text = "ok" }
  return type(reply) == "function" and reply() or reply
end

local function use_fake()
  vim.opt.rtp:prepend(vim.fs.joinpath(here, "fake_codecompanion"))
  for name, command in pairs(M.t.args.agents or {}) do
    local adapter = { name = name, type = "acp", defaults = {}, commands = { default = command } }
    require("codecompanion.config").adapters.acp[name] = adapter
  end
  local Chat = require("codecompanion.interactions.chat")
  Chat.model = function(messages)
    table.insert(M.sent, messages)
    return next_reply()
  end
  Chat.tools = setmetatable({}, {
    __index = function(_, name)
      return function(chat, tool)
        M.tools[name](chat, tool, vim.json.decode(tool.function_call["function"].arguments))
      end
    end,
  })
end

local function chunk(delta)
  return "data: "
    .. vim.json.encode({ id = "x", created = 1, choices = { { index = 0, delta = delta } } })
end

local function stream(reply, handlers)
  if reply.text then
    handlers.stream(nil, chunk({ role = "assistant", content = reply.text }))
  end
  for index, call in ipairs(reply.calls or {}) do
    local part = vim.tbl_extend("force", { index = index - 1 }, call)
    handlers.stream(nil, chunk({ role = "assistant", tool_calls = { part } }))
  end
  handlers.stream(nil, "data: [DONE]")
end

local function stream_slowly(reply, handlers, index, finish)
  if reply.chunks[index] then
    handlers.stream(nil, chunk({ role = "assistant", content = reply.chunks[index] }))
    return vim.defer_fn(function()
      stream_slowly(reply, handlers, index + 1, finish)
    end, reply.pause_ms)
  elseif not reply.hangs then
    handlers.stream(nil, "data: [DONE]")
    finish()
  end
end

local function real_tool(name)
  return {
    description = "a tool of the tests",
    callback = function()
      return {
        name = name,
        cmds = {
          function(_, args)
            return { status = "success", data = args }
          end,
        },
        schema = {
          type = "function",
          ["function"] = {
            name = name,
            description = "x",
            parameters = { type = "object", properties = vim.empty_dict() },
          },
        },
        output = {
          success = function(tool, output, meta)
            M.tools[name](meta.tools.chat, tool, output[#output])
          end,
        },
      }
    end,
  }
end

local function scripted_agent()
  return require("codecompanion.adapters").extend("opencode", {
    name = "scripted",
    commands = { default = { M.t.args.cmd[1], vim.fs.joinpath(here, "..", "agent.py") } },
    env = {},
  })
end

-- The adapters of the agents that a test names.
local function named_agents()
  local adapters = {}
  for name, command in pairs(M.t.args.agents or {}) do
    adapters[name] = function()
      return require("codecompanion.adapters").extend("opencode", {
        name = name,
        commands = { default = command },
        env = {},
      })
    end
  end
  return adapters
end

local function use_real(codecompanion, plenary)
  vim.opt.rtp:prepend(codecompanion)
  vim.opt.rtp:append(plenary)
  vim.cmd.runtime("plugin/codecompanion.lua")
  require("codecompanion.http").static.methods.post.default = function(handlers)
    local file = assert(io.open(handlers.body))
    table.insert(M.sent, vim.json.decode(file:read("*a")).messages)
    file:close()
    local function finish()
      vim.schedule(function()
        handlers.callback({ status = 200, body = "" })
      end)
    end
    vim.schedule(function()
      local reply = next_reply()
      if reply.chunks then
        return stream_slowly(reply, handlers, 1, finish)
      end
      stream(reply, handlers)
      finish()
    end)
    return { args = {}, shutdown = function() end }
  end
  local function adapter(name, choices)
    return function()
      return require("codecompanion.adapters").extend("openai", {
        name = name,
        env = { api_key = "X" },
        schema = { model = { default = "m", choices = choices } },
      })
    end
  end
  require("codecompanion").setup({
    adapters = {
      http = { fake = adapter("fake", { "m" }), other = adapter("other", { m = {}, n = {} }) },
      acp = vim.tbl_extend("force", { scripted = scripted_agent }, named_agents()),
    },
    interactions = {
      chat = {
        adapter = "fake",
        tools = { inspect_file = real_tool("inspect_file"), list = real_tool("list") },
      },
      background = { chat = { opts = { enabled = false } } },
    },
    rules = { opts = { chat = { enabled = false } } },
    opts = { log_level = "OFF" },
  })
end

--- Put CodeCompanion on the runtimepath and set it up, as a plugin manager would.
function M.load_plugin(t)
  M.t = t
  if t.args.codecompanion then
    use_real(t.args.codecompanion, t.args.plenary)
  else
    use_fake()
  end
  return require("codecompanion")
end

--- Let new chats have an adapter.
function M.use_by_default(adapter)
  if M.t.args.codecompanion then
    require("codecompanion.config").interactions.chat.adapter = adapter
  else
    require("codecompanion.interactions.chat").adapter = adapter
  end
end

--- Open a chat with an agent (ACP) that sends these updates during each turn.
function M.agent_chat(codecompanion, updates)
  if not M.t.args.codecompanion then
    require("codecompanion.interactions.chat").agent_updates = updates
  end
  vim.env.SEGUE_TEST_UPDATES = vim.json.encode(updates)
  return codecompanion.chat({ params = { adapter = "scripted" } })
end

function M.tool_call(id, name, arguments)
  return { id = id, type = "function", ["function"] = { name = name, arguments = arguments } }
end

function M.type(chat, prompt)
  vim.bo[chat.bufnr].modifiable = true
  vim.api.nvim_buf_set_lines(chat.bufnr, -2, -1, false, vim.split(prompt, "\n"))
end

local turns = {}
vim.api.nvim_create_autocmd("User", {
  pattern = "CodeCompanionChatDone",
  callback = function(args)
    turns[args.data.bufnr] = (turns[args.data.bufnr] or 0) + 1
  end,
})

--- Call a function that submits the chat, and wait until the turn is done.
function M.run_turn(chat, submit)
  local before = turns[chat.bufnr] or 0
  submit()
  M.t.wait("the turn is done", function()
    return (turns[chat.bufnr] or 0) > before
  end)
end

--- Submit a prompt, to which the model gives these replies, and wait until the turn is done.
function M.submit(chat, prompt, ...)
  M.replies = { ... }
  M.run_turn(chat, function()
    M.type(chat, prompt)
    chat:submit()
  end)
end

function M.compact(chat, summary)
  require("codecompanion.interactions.background").new = function()
    return {
      ask = function(_, _, opts)
        vim.schedule(function()
          opts.on_done({ output = { content = summary } })
        end)
      end,
    }
  end
  local compaction = require("codecompanion.interactions.chat.context_management.compaction")
  assert(compaction.compact(chat, { min_token_savings = 0 }))
end

function M.buffer_text(chat)
  return table.concat(vim.api.nvim_buf_get_lines(chat.bufnr, 0, -1, false), "\n")
end

--- The virtual lines below the chat, in which an offer to resume is shown.
function M.offer_text(chat)
  local namespace = vim.api.nvim_get_namespaces().segue_offer
  local lines = {}
  if namespace and vim.api.nvim_buf_is_valid(chat.bufnr) then
    local marks = vim.api.nvim_buf_get_extmarks(chat.bufnr, namespace, 0, -1, { details = true })
    for _, mark in ipairs(marks) do
      for _, chunks in ipairs(mark[4].virt_lines or {}) do
        table.insert(lines, table.concat(vim.tbl_map(function(part)
          return part[1]
        end, chunks)))
      end
    end
  end
  return table.concat(lines, "\n")
end

return M
