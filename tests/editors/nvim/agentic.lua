-- Chats of agentic.nvim: of the fake beside this file, or of the real plugin.

local here = vim.fs.dirname(debug.getinfo(1, "S").source:sub(2))

local M = {}

local completed = 0

local function chunk(kind, text)
  return { sessionUpdate = kind, content = { type = "text", text = text } }
end

local UPDATES = {
  chunk("agent_thought_chunk", "Which "),
  chunk("agent_thought_chunk", "file?"),
  chunk("agent_message_chunk", "Let me "),
  chunk("agent_message_chunk", "look."),
  { sessionUpdate = "tool_call", toolCallId = "1", title = "Read", kind = "read", status = "pending" },
  {
    sessionUpdate = "tool_call_update",
    toolCallId = "1",
    status = "completed",
    rawInput = { path = "parser.py" },
    content = { { type = "content", content = { type = "text", text = "its content" } } },
  },
  { sessionUpdate = "plan", entries = { { content = "look", status = "completed", priority = "low" } } },
  chunk("agent_message_chunk", "Done."),
}

local REPLAY = {
  chunk("user_message_chunk", "Look at parser.py"),
  chunk("agent_message_chunk", "This was said before."),
}

local function start(t)
  vim.env.SEGUE_TEST_UPDATES = vim.json.encode(UPDATES)
  vim.env.SEGUE_TEST_REPLAY = t.args.loads and vim.json.encode(REPLAY) or nil
  vim.opt.rtp:prepend(t.args.agentic or vim.fs.joinpath(here, "fake_agentic"))
  local command = vim.deepcopy(t.args.agent or { t.args.cmd[1], vim.fs.joinpath(here, "..", "agent.py") })
  require("agentic").setup({
    provider = "scripted",
    acp_providers = {
      scripted = { name = "Scripted", command = table.remove(command, 1), args = command, env = {} },
    },
    hooks = {
      on_response_complete = function()
        completed = completed + 1
      end,
    },
  })
end

local function manager(t)
  local sessions = require("agentic.session_registry").sessions
  local found
  t.wait("a session", function()
    found = sessions[vim.api.nvim_get_current_tabpage()]
    return found and found.session_id
  end)
  return found
end

local function ask(t, question)
  local before = completed
  manager(t):_handle_input_submit(question)
  t.wait("the turn is done", function()
    return completed > before
  end)
  t.wait_until_stored()
end

local function wait_for_text(t, text)
  t.wait(text, function()
    return vim.iter(vim.api.nvim_list_bufs()):any(function(buffer)
      local lines = vim.bo[buffer].filetype == "AgenticChat"
        and vim.api.nvim_buf_get_lines(buffer, 0, -1, false)
      return lines and table.concat(lines, "\n"):find(text, 1, true)
    end)
  end)
end

function M.turn(t)
  start(t)
  require("agentic").open()
  ask(t, "Look at parser.py")
  local current = require("segue").current()
  if current then
    t.wait("the session knows the agent's id", function()
      return t.call_ok("list", {}).sessions[1].server_session_id
    end)
  end
  return { current = current and current.id, agent = current and current.agent, hooks = completed }
end

function M.resume(t)
  start(t)
  vim.cmd.Segue("resume " .. t.args.id)
  wait_for_text(t, t.args.shown)
  t.wait("it is loaded", function()
    return manager(t).session_id == t.args.agent_session_id
  end)
  vim.wait(100)
  ask(t, "And now?")
  local current = require("segue").current()
  return { current = current and current.id }
end

function M.cannot_load(t)
  start(t)
  vim.cmd.Segue("resume " .. t.args.id)
  t.wait("its transcript", function()
    return vim.startswith(vim.api.nvim_buf_get_name(0), "segue://" .. t.args.id)
  end)
  return {}
end

function M.disabled(t)
  vim.g.segue = { cmd = t.args.cmd, integrations = { agentic = false } }
  start(t)
  require("agentic").open()
  ask(t, "Look at parser.py")
  return { hooks = completed }
end

return M
