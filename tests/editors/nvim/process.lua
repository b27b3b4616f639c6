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
  return {
    cwd = vim.uv.fs_readlink(("/proc/%d/cwd"):format(pid)),
    environment = environment,
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

return M
