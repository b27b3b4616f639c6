-- avante.nvim as far as the integration sees it: its events, and where it saves its conversation; and
-- the real plugin, with an agent.

local here = vim.fs.dirname(debug.getinfo(1, "S").source:sub(2))

local M = {}

local function fire(name)
  vim.api.nvim_exec_autocmds("User", { pattern = "Avante" .. name })
end

local function start(t)
  local buffer = vim.api.nvim_get_current_buf()
  package.loaded["avante"] = {
    get = function()
      return { code = { bufnr = buffer }, chat_history = { filename = "0.json" } }
    end,
  }
  package.loaded["avante.path"] = {
    history = {
      get_filepath = function(_, name)
        return vim.fs.joinpath(t.args.folder, name)
      end,
    },
  }
end

local function save(t, messages)
  vim.fn.mkdir(t.args.folder, "p")
  local json = vim.json.encode({ title = "untitled", timestamp = "2026-03-04 05:06:07", messages = messages })
  vim.fn.writefile({ json }, vim.fs.joinpath(t.args.folder, "0.json"))
end

local function wait_for_events(t, count)
  t.wait(count .. " events", function()
    local session = t.call_ok("list", { cwd = false }).sessions[1]
    return session and session.event_count >= count
  end)
end

function M.turns(t)
  start(t)
  fire("InputSubmitted")
  save(t, vim.list_slice(t.args.messages, 1, 2))
  fire("ViewBufferUpdated")
  wait_for_events(t, 2)
  save(t, t.args.messages)
  fire("ViewBufferUpdated")
  wait_for_events(t, 4)
  return {}
end

function M.real(t)
  vim.env.XDG_CACHE_HOME = vim.env.XDG_STATE_HOME -- it keeps templates there
  for _, plugin in ipairs(t.args.plugins) do
    vim.opt.rtp:append(plugin)
  end
  vim.cmd.runtime("plugin/avante.lua")
  local updates = {
    { sessionUpdate = "agent_message_chunk", content = { type = "text", text = "the answer" } },
  }
  require("avante").setup({
    provider = "scripted",
    acp_providers = {
      scripted = {
        command = t.args.cmd[1],
        args = { vim.fs.joinpath(here, "..", "agent.py") },
        env = { SEGUE_TEST_UPDATES = vim.json.encode(updates) },
      },
    },
    behaviour = { auto_set_keymaps = false },
  })
  require("avante.api").ask({ question = "the question" })
  wait_for_events(t, 2)
  return {}
end

function M.not_wanted(t)
  vim.g.segue = vim.tbl_extend("force", { cmd = t.args.cmd }, t.args.settings)
  start(t)
  save(t, t.args.messages)
  fire("ViewBufferUpdated")
  vim.wait(3000)
  return {}
end

function M.unreadable(t)
  start(t)
  fire("InputSubmitted")
  t.wait("a notification", function()
    return #t.notices > 0
  end)
  return {}
end

return M
