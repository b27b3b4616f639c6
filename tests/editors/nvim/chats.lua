-- Chats of CodeCompanion that talk to a model which the specs play: the stand-in beside this file,
-- or the real plugin. What the specs do with them is the same.

local M = {}

local here = vim.fs.dirname(debug.getinfo(1, "S").source:sub(2))

-- What the model is sent, and what it answers to it.
M.sent = {}
M.replies = {}
M.tools = {}

local function next_reply()
  local reply = table.remove(M.replies, 1) or { text = "ok" }
  return type(reply) == "function" and reply() or reply
end

local function use_standin()
  vim.opt.rtp:prepend(vim.fs.joinpath(here, "standin"))
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
  for place, call in ipairs(reply.calls or {}) do
    local part = vim.tbl_extend("force", { index = place - 1 }, call)
    handlers.stream(nil, chunk({ role = "assistant", tool_calls = { part } }))
  end
  handlers.stream(nil, "data: [DONE]")
end

local function real_tool(name)
  return {
    description = "a tool of the specs",
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

local function use_real(codecompanion, plenary)
  vim.opt.rtp:prepend(codecompanion)
  vim.opt.rtp:append(plenary)
  vim.cmd.runtime("plugin/codecompanion.lua")
  require("codecompanion.http").static.methods.post.default = function(handlers)
    local file = assert(io.open(handlers.body))
    table.insert(M.sent, vim.json.decode(file:read("*a")).messages)
    file:close()
    vim.schedule(function()
      stream(next_reply(), handlers)
      vim.schedule(function()
        handlers.callback({ status = 200, body = "" })
      end)
    end)
    return { args = {}, shutdown = function() end }
  end
  local function adapter()
    return require("codecompanion.adapters").extend("openai", {
      name = "fake",
      env = { api_key = "X" },
      schema = { model = { default = "m", choices = { "m" } } },
    })
  end
  require("codecompanion").setup({
    adapters = { http = { fake = adapter } },
    interactions = {
      chat = {
        adapter = "fake",
        tools = { look = real_tool("look"), list = real_tool("list") },
      },
      background = { chat = { opts = { enabled = false } } },
    },
    rules = { opts = { chat = { enabled = false } } },
    opts = { log_level = "OFF" },
  })
end

--- Make the plugin available, as a plugin manager would.
function M.use(t)
  if t.given.codecompanion then
    use_real(t.given.codecompanion, t.given.plenary)
  else
    use_standin()
  end
  M.t = t
  return require("codecompanion")
end

function M.call(id, name, arguments)
  return { id = id, type = "function", ["function"] = { name = name, arguments = arguments } }
end

function M.write(chat, text)
  vim.bo[chat.bufnr].modifiable = true
  vim.api.nvim_buf_set_lines(chat.bufnr, -2, -1, false, vim.split(text, "\n"))
end

local turns = {}
vim.api.nvim_create_autocmd("User", {
  pattern = "CodeCompanionChatDone",
  callback = function(args)
    turns[args.data.bufnr] = (turns[args.data.bufnr] or 0) + 1
  end,
})

--- Run something that makes the model answer, and wait for the end of the turn.
function M.turn(chat, act)
  local before = turns[chat.bufnr] or 0
  act()
  M.t.wait("the turn ends", function()
    return (turns[chat.bufnr] or 0) > before
  end)
end

--- Say something, and wait for the end of the turn.
function M.say(chat, text, ...)
  M.replies = { ... }
  M.turn(chat, function()
    M.write(chat, text)
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

function M.text(chat)
  return table.concat(vim.api.nvim_buf_get_lines(chat.bufnr, 0, -1, false), "\n")
end

--- The lines that are shown below the text of the chat, and are not in it.
function M.offer(chat)
  local namespace = vim.api.nvim_get_namespaces().segue_offer
  local lines = {}
  if namespace and vim.api.nvim_buf_is_valid(chat.bufnr) then
    local marks = vim.api.nvim_buf_get_extmarks(chat.bufnr, namespace, 0, -1, { details = true })
    for _, mark in ipairs(marks) do
      for _, chunks in ipairs(mark[4].virt_lines or {}) do
        table.insert(lines, table.concat(vim.tbl_map(function(piece)
          return piece[1]
        end, chunks)))
      end
    end
  end
  return table.concat(lines, "\n")
end

return M
