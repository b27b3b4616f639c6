-- The server's process: its environment, its directory, and what else its command prints.

local segue = require("segue")

local M = {}

function M.environment(t)
  for name, value in pairs(t.args.environment) do
    vim.env[name] = value
  end
  vim.lsp.config("segue", { cmd_env = { PYTHONWARNINGS = "ignore", SEGUE_OF_THE_USER = "1" } })
  t.call_ok("append", t.user_message("one"), nil)
  local pid = t.server_pid()
  local environment = {}
  local file = assert(io.open(("/proc/%d/environ"):format(pid)))
  for _, entry in ipairs(vim.split(file:read("*a"), "\0", { plain = true })) do
    local name, value = entry:match("^([^=]+)=(.*)$")
    environment[name or ""] = value
  end
  file:close()
  vim.cmd.checkhealth("segue")
  return {
    cwd = vim.uv.fs_readlink(("/proc/%d/cwd"):format(pid)),
    environment = environment,
    health = table.concat(t.lines(), "\n"),
  }
end

function M.program_in_path(t)
  vim.env.PATH = ".:" .. t.args.path
  vim.g.segue = { cmd = { "segue", "lsp" } }
  return { command = require("segue.server").command() }
end

function M.noisy_command(t)
  t.call_ok("append", t.user_message("one"), nil)
  t.kill_server()
  t.call_ok("append", t.user_message("two"), nil)
  return { session = segue.current().id }
end

function M.unsent(t)
  t.call_ok("append", t.user_message("one"), nil)
  vim.g.segue = { cmd = { t.args.cmd[1], "-c", "raise SystemExit(1)" } }
  vim.uv.kill(t.server_pid(), "sigkill")
  t.wait("the server is not restarted any more", function()
    return require("segue.server").info().state == "failed"
  end)
  local stopped = segue.status()
  segue.append({ t.user_message("two"), t.user_message("three") })
  t.wait("the reason", function()
    return require("segue.registry").unsent_state().failure
  end)
  local status = segue.status()
  vim.cmd.checkhealth("segue")
  local health = table.concat(t.lines(), "\n")
  vim.g.segue = { cmd = t.args.cmd }
  vim.cmd.Segue("info")
  t.wait_until_stored()
  return { stopped = stopped, status = status, health = health, after = segue.status() }
end

return M
