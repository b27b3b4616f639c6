--- The checks of `:checkhealth segue`.

local format = require("segue.format")

local M = {}

local DOCTOR_TIMEOUT_MS = 10000

---@return table? report, string? fault
local function run_doctor()
  local server = require("segue.server")
  local started, result = pcall(function()
    local options = server.system_options() --[[@as vim.SystemOpts]]
    options.text = true
    return vim.system(server.subcommand({ "doctor", "--json" }), options):wait(DOCTOR_TIMEOUT_MS)
  end)
  if not started then
    return nil, tostring(result)
  end
  local decoded, report = pcall(vim.json.decode, result.stdout or "", { luanil = { object = true } })
  if not decoded or type(report) ~= "table" then
    return nil, ("exit code %d: %s"):format(result.code, vim.trim(result.stderr or ""))
  end
  return report
end

local function check_neovim()
  vim.health.start("segue: Neovim")
  local now = vim.version()
  local version = ("%d.%d.%d"):format(now.major, now.minor, now.patch)
  if vim.fn.has("nvim-0.11") == 1 then
    vim.health.ok("Neovim " .. version)
  else
    vim.health.error("Neovim " .. version, "Segue needs Neovim 0.11 or later")
  end
  local faults = require("segue.config").faults()
  for _, fault in ipairs(faults) do
    vim.health.error(fault, "see :help segue-configuration")
  end
  if #faults == 0 then
    vim.health.ok("the configuration is valid")
  end
end

---@param report table
local function check_store(report)
  local sqlite, database = report.sqlite, report.database
  local description = ("SQLite %s from %s"):format(sqlite.version, sqlite.library)
  if sqlite.safe then
    vim.health.ok(description .. ", safe for several windows at once")
  else
    vim.health.warn(description .. " is not safe for several windows at once")
  end
  vim.health.info("the database is " .. database.path)
  if database.sessions then
    vim.health.info(
      ("%d sessions (%d archived), %d events"):format(
        database.sessions,
        database.archived,
        database.events
      )
    )
  elseif not database.exists then
    vim.health.info("the database is created with the first conversation")
  end
  for _, problem in ipairs(report.problems) do
    vim.health.warn(problem)
  end
end

-- The server is started without these variables.
local function check_environment()
  for _, name in ipairs({ "PYTHONPATH", "PYTHONHOME" }) do
    if (vim.env[name] or "") ~= "" then
      vim.health.warn(
        name .. " is set in Neovim's environment",
        "the server is started without it; `segue` in a terminal is not"
      )
    end
  end
end

local function check_server()
  vim.health.start("segue: server")
  local server = require("segue.server")
  local cmd = server.command()
  check_environment()
  local path = vim.fn.exepath(cmd[1])
  if path == "" then
    vim.health.error(cmd[1] .. " was not found", "To install it: " .. server.how_to_install())
    return
  end
  vim.health.info("the server's command: " .. table.concat(cmd, " "))
  local report, fault = run_doctor()
  if not report then
    vim.health.error(("%s does not work: %s"):format(table.concat(cmd, " "), fault))
    return
  end
  vim.health.ok(("segue %s on Python %s (%s)"):format(report.segue, report.python, path))
  check_store(report)
end

-- Nothing here starts the server or sends a request.
local function check_this_neovim()
  vim.health.start("segue: this Neovim")
  local info = require("segue.server").info()
  local version = info.version and "segue " .. info.version .. ", " or ""
  local process = info.pid and ", process " .. info.pid or ""
  local description = "the server of this Neovim: " .. version .. info.state .. process
  if info.state == "failed" then
    vim.health.error(description, "to try again: :Segue info")
  else
    vim.health.info(description)
  end
  local watch = package.loaded["segue.watch"] and require("segue.watch").info() or {}
  if watch.pid then
    vim.health.info("`segue watch` imports other programs' conversations, process " .. watch.pid)
  end
  if watch.problem then
    vim.health.warn("`segue watch` said: " .. watch.problem)
  end
  if not package.loaded["segue.registry"] then
    return
  end
  local unsent = require("segue.registry").unsent_state()
  if unsent.failure then
    local message = format.unsent(unsent.count, unsent.since, unsent.failure.message)
    vim.health.error(message, "they are kept in memory until Neovim exits, and sent again")
  elseif unsent.count > 0 then
    vim.health.info(format.unsent(unsent.count, unsent.since))
  else
    vim.health.ok("everything is stored")
  end
end

local function check_messages()
  local messages = require("segue.messages").kept()
  if #messages == 0 then
    return
  end
  vim.health.start("segue: latest messages")
  for _, message in ipairs(messages) do
    vim.health.info(os.date("%H:%M:%S ", message.time) .. message.text)
  end
end

-- By their settings.
local RECORDED_PLUGINS = {
  agentic = { name = "agentic.nvim", file = "lua/agentic/init.lua" },
  avante = { name = "avante.nvim", file = "lua/avante/init.lua" },
  codecompanion = { name = "codecompanion.nvim", file = "lua/codecompanion/init.lua" },
  copilot_chat = { name = "CopilotChat.nvim", file = "lua/CopilotChat/init.lua" },
}

local function check_integrations()
  vim.health.start("segue: integrations")
  local settings = require("segue.config").get().integrations
  for setting, plugin in vim.spairs(RECORDED_PLUGINS) do
    if #vim.api.nvim_get_runtime_file(plugin.file, false) == 0 then
      vim.health.info(plugin.name .. " is not installed")
    elseif settings[setting] == false then
      vim.health.info(plugin.name .. " is installed; recording is disabled in vim.g.segue")
    else
      vim.health.ok(("the chats of %s are recorded"):format(plugin.name))
    end
  end
end

--- Check Neovim, the settings, the server, its database, what is not stored, and the integrations.
function M.check()
  check_neovim()
  check_server()
  check_this_neovim()
  check_integrations()
  check_messages()
end

return M
