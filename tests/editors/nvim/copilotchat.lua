-- The chat of CopilotChat.nvim: of the fake beside this file, or of the real plugin, whose model is a
-- server of the test.

local here = vim.fs.dirname(debug.getinfo(1, "S").source:sub(2))

local M = {}

local called = {}

local function provider(url)
  return {
    get_models = function()
      return { { id = "m", name = "m", streaming = false, tools = false } }
    end,
    prepare_input = function(messages)
      return { messages = messages }
    end,
    prepare_output = function(output)
      return { content = output.content, finish_reason = "stop" }
    end,
    get_url = function()
      return url
    end,
  }
end

local function start(t)
  -- Else the ids of messages that were saved are given a second time.
  math.randomseed(vim.uv.hrtime())
  if t.args.copilot_chat then
    vim.opt.rtp:prepend(t.args.copilot_chat)
    vim.opt.rtp:append(t.args.plenary)
  else
    vim.opt.rtp:prepend(vim.fs.joinpath(here, "fake_copilot_chat"))
    require("CopilotChat").model = function(prompt)
      return prompt ~= "do not answer" and "answer to " .. prompt or nil
    end
  end
  require("CopilotChat").setup({
    model = "m",
    providers = { copilot = { disabled = true }, test = provider(t.args.url) },
    callback = function(response)
      table.insert(called, response.content)
    end,
  })
  return require("CopilotChat")
end

local function ask(t, plugin, question)
  local before = #called
  plugin.ask(question)
  t.wait("the answer", function()
    return #called > before and vim.bo[plugin.chat.bufnr].modifiable
  end)
  t.wait_until_stored()
end

-- Opened before the first question, as a user does. The input is ready then.
local function open(t, plugin)
  plugin.open()
  t.wait("the chat", function()
    return plugin.chat.bufnr and #plugin.chat:get_messages() > 0
  end)
  t.server_pid()
end

local function report()
  local current = require("segue").current()
  return {
    current = current and current.id,
    agent = current and current.agent,
    model = current and current.model,
    called = called,
  }
end

function M.two_turns(t)
  local plugin = start(t)
  open(t, plugin)
  ask(t, plugin, "one")
  ask(t, plugin, "two")
  vim.wait(50)
  if t.args.folder then
    plugin.save("saved", t.args.folder)
  end
  return report()
end

function M.cleared(t)
  local plugin = start(t)
  open(t, plugin)
  ask(t, plugin, "one")
  plugin.reset()
  ask(t, plugin, "two")
  return report()
end

function M.resume(t)
  local plugin = start(t)
  vim.cmd.Segue("resume " .. t.args.id)
  t.wait("what was said", function()
    local messages = plugin.chat.bufnr and plugin.chat:get_messages() or {}
    return vim.iter(messages):any(function(message)
      return message.content:find("answer to two", 1, true)
    end)
  end)
  ask(t, plugin, "three")
  return report()
end

function M.loaded(t)
  local plugin = start(t)
  open(t, plugin)
  plugin.load("saved", t.args.folder)
  ask(t, plugin, "three")
  return report()
end

function M.exit_in_mid_answer(t)
  local plugin = start(t)
  open(t, plugin)
  plugin.ask("do not answer")
  t.wait("the answer begins", function()
    return not vim.bo[plugin.chat.bufnr].modifiable
  end)
  vim.wait(200)
  return {}
end

function M.disabled(t)
  vim.g.segue = { cmd = t.args.cmd, integrations = { copilot_chat = false } }
  local plugin = start(t)
  plugin.open()
  ask(t, plugin, "one")
  return report()
end

return M
