--- |:checkhealth| segue

local M = {}

local WAIT_MS = 10000

-- The options that `segue lsp` and `segue` itself both know go in front of the subcommand.
---@param cmd string[]
---@return string[]
local function doctor_command(cmd)
  local doctor, database = {}, {}
  local after_lsp = false
  for place, word in ipairs(cmd) do
    if word == "lsp" and not after_lsp then
      after_lsp = true
    elseif not after_lsp then
      table.insert(doctor, word)
    elseif word == "--database" then
      database = { word, cmd[place + 1] }
    elseif vim.startswith(word, "--database=") then
      database = { word }
    end
  end
  return vim.iter({ doctor, database, { "doctor", "--json" } }):flatten():totable()
end

---@return table? report, string? fault
local function doctor(cmd)
  local ran, result = pcall(function()
    return vim.system(doctor_command(cmd), { text = true }):wait(WAIT_MS)
  end)
  if not ran then
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
    vim.health.ok("the configuration is right")
  end
end

---@param report table
local function check_store(report)
  local sqlite, database = report.sqlite, report.database
  local linked = ("SQLite %s from %s"):format(sqlite.version, sqlite.library)
  if sqlite.safe then
    vim.health.ok(linked .. ", safe for several windows at once")
  else
    vim.health.warn(linked .. " is not safe for several windows at once")
  end
  vim.health.info("conversations are kept in " .. database.path)
  if database.sessions then
    vim.health.info(
      ("%d sessions (%d archived), %d events"):format(
        database.sessions,
        database.archived,
        database.events
      )
    )
  elseif not database.exists then
    vim.health.info("it is made with the first conversation")
  end
  for _, problem in ipairs(report.problems) do
    vim.health.warn(problem)
  end
end

local function check_server()
  vim.health.start("segue: server")
  local server = require("segue.server")
  local cmd = server.command()
  local path = vim.fn.exepath(cmd[1])
  if path == "" then
    vim.health.error(cmd[1] .. " was not found", "To install it: " .. server.how_to_install())
    return
  end
  local report, fault = doctor(cmd)
  if not report then
    vim.health.error(("%s does not work: %s"):format(table.concat(cmd, " "), fault))
    return
  end
  vim.health.ok(("segue %s on Python %s (%s)"):format(report.segue, report.python, path))
  check_store(report)
  local info = server.info()
  vim.health.info("in this Neovim: " .. info.state .. (info.pid and ", process " .. info.pid or ""))
end

local function check_integrations()
  vim.health.start("segue: integrations")
  local found = #vim.api.nvim_get_runtime_file("lua/codecompanion/init.lua", false) > 0
  if not found then
    vim.health.info("codecompanion.nvim is not installed")
  elseif require("segue.config").get().integrations.codecompanion == false then
    vim.health.info("codecompanion.nvim is installed, and switched off in vim.g.segue")
  else
    vim.health.ok("the chats of codecompanion.nvim are recorded")
  end
end

--- Check everything that Segue needs.
function M.check()
  check_neovim()
  check_server()
  check_integrations()
end

return M
