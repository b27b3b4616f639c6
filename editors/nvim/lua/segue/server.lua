--- The server: one process for this Neovim, started when it is first needed and again when it dies.

local config = require("segue.config")

local M = {}

---@alias segue.Method
---| "session/open"
---| "session/append"
---| "session/events"
---| "session/list"
---| "session/findResumable"
---| "session/reset"
---| "session/archive"
---| "session/unarchive"
---| "session/delete"
---| "session/close"
---| "session/setServerSessionId"
---| "session/getMetadata"
---| "session/setMetadata"

---@class segue.Error
---@field code integer
---@field message string For people
---@field kind? string What the server says went wrong (PROTOCOL.md), or `ServerGone`, `ServerStopped`, `ServerNotFound`
---@field data? table

---@class segue.Request
---@field method segue.Method
---@field params table
---@field callback fun(err?: segue.Error, result?: any)

local VERSION = 1
local RESTARTS = 3
local WITHIN_S = 180

-- To ask these twice is to ask them once.
local REPEATABLE = {
  ["session/open"] = true,
  ["session/events"] = true,
  ["session/list"] = true,
  ["session/findResumable"] = true,
  ["session/archive"] = true,
  ["session/unarchive"] = true,
  ["session/delete"] = true,
  ["session/close"] = true,
}

---@type "stopped"|"starting"|"ready"|"ending"
local state = "stopped"
local client ---@type vim.lsp.Client?
local generation = 0
local queue = {} ---@type segue.Request[]
local unanswered = {} ---@type table<integer, segue.Request>
local numbers = 0
local deaths = {} ---@type integer[]
local gave_up = nil ---@type "deaths"|"version"|nil
local pid ---@type integer?
local info ---@type { name: string, version?: string }?
local said_absent = false
local on_end = function() end

---@param kind string
---@param message string
---@return segue.Error
local function fault(kind, message)
  return { code = -32803, kind = kind, message = message }
end

---@param request segue.Request
---@param err? segue.Error
---@param result? any
local function answer(request, err, result)
  vim.schedule(function()
    request.callback(err, result)
  end)
end

---@param err segue.Error
local function refuse_queue(err)
  local refused = queue
  queue = {}
  for _, request in ipairs(refused) do
    answer(request, err)
  end
end

--- How the server is installed: by a command, if the checkout that this plugin is a part of is here.
---@return string
function M.how_to_install()
  local here = vim.fs.normalize(vim.uv.fs_realpath(debug.getinfo(1, "S").source:sub(2)) or "")
  local checkout = vim.fs.dirname(here):gsub("/editors/nvim/lua/segue$", "")
  if not vim.uv.fs_stat(vim.fs.joinpath(checkout, "server", "segue")) then
    return "see :help segue-installation"
  end
  local tool = vim.fn.executable("uv") == 1 and "uv tool install" or "pipx install"
  return tool .. " " .. vim.fn.shellescape(checkout)
end

---@return vim.lsp.Config
local function lsp_config()
  local settings = vim.deepcopy(vim.lsp.config.segue)
  settings.cmd = config.get().cmd or settings.cmd
  return settings
end

--- The server's command.
---@return string[]
function M.command()
  return lsp_config().cmd --[[@as string[] ]]
end

---@param from segue.Request
local function send(from)
  numbers = numbers + 1
  local number = numbers
  unanswered[number] = from
  local sent = assert(client):request(from.method, from.params, function(err, result)
    if not unanswered[number] then
      return -- the server's end was noticed first
    end
    unanswered[number] = nil
    if err then
      local data = type(err.data) == "table" and err.data or {}
      err = { code = err.code, message = err.message, kind = data.kind, data = data }
    end
    from.callback(err, result)
  end)
  if not sent then
    -- It is gone; its exit will be reported in a moment.
    unanswered[number] = nil
    table.insert(queue, from)
  end
end

local function send_queue()
  local waiting = queue
  queue = {}
  for _, request in ipairs(waiting) do
    send(request)
  end
end

---@param result lsp.InitializeResult
local function on_ready(result)
  local served = vim.tbl_get(result, "capabilities", "experimental", "sessions", "version")
  info = result.serverInfo
  if served ~= VERSION then
    gave_up = "version"
    local message = ("this server speaks another version of the protocol (%s, not %d)"):format(
      served or "none",
      VERSION
    )
    config.notify(message .. "; update the plugin and the server together", vim.log.levels.ERROR)
    refuse_queue(fault("ServerStopped", message))
    return assert(client):stop()
  end
  state = "ready"
  send_queue()
end

---@return integer
local function recent_deaths()
  local since = os.time() - WITHIN_S
  deaths = vim.tbl_filter(function(at)
    return at > since
  end, deaths)
  return #deaths
end

---@param code integer
---@param signal integer
local function on_death(code, signal)
  table.insert(deaths, os.time())
  local count = recent_deaths()
  local how = signal ~= 0 and ("signal %d"):format(signal) or ("exit code %d"):format(code)
  if count > RESTARTS then
    gave_up = "deaths"
    config.notify(
      ("the server stopped %d times in %d minutes (%s) and is not started again. What you say is "):format(
        count,
        WITHIN_S / 60,
        how
      ) .. "kept here until this Neovim ends; see :Segue log, then :Segue info to try once more",
      vim.log.levels.ERROR
    )
  elseif count == 1 then
    config.notify(
      ("the server stopped (%s); it is started again, nothing is lost"):format(how),
      vim.log.levels.WARN
    )
  end
end

---@param code integer
---@param signal integer
local function on_exit(code, signal)
  local on_purpose = state == "ending"
  state, client, pid = "stopped", nil, nil
  generation = generation + 1
  local lost = unanswered
  unanswered = {}
  if vim.v.exiting ~= vim.NIL then
    return
  end
  if not on_purpose and not gave_up then
    on_death(code, signal)
  end

  local again = {}
  local in_order = vim.tbl_keys(lost)
  table.sort(in_order)
  for _, number in ipairs(in_order) do
    local request = lost[number]
    if REPEATABLE[request.method] then
      table.insert(again, request)
    else
      request.callback(fault("ServerGone", "the server stopped before it answered"))
    end
  end
  queue = vim.list_extend(again, queue)
  if gave_up then
    refuse_queue(fault("ServerStopped", "the server is not running"))
  elseif #queue > 0 or not on_purpose then
    M.start()
  end
end

local function on_absent(program)
  if not said_absent then
    said_absent = true
    config.notify(
      ("the server is not installed (%s was not found). To install it: %s"):format(
        program,
        M.how_to_install()
      ),
      vim.log.levels.ERROR
    )
  end
  refuse_queue(fault("ServerNotFound", program .. " was not found"))
end

--- Start the server, if it does not run. Waits for nothing.
function M.start()
  if state ~= "stopped" then
    return
  end
  local settings = lsp_config()
  local cmd = settings.cmd --[[@as string[] ]]
  if vim.fn.executable(cmd[1]) == 0 then
    return on_absent(cmd[1])
  end
  said_absent = false
  state = "starting"
  settings.name = "segue"
  settings.root_dir = M.workspace()
  settings.cmd = function(dispatchers)
    local wire
    wire, pid = require("segue.rpc").start(cmd, dispatchers, {
      cwd = settings.cmd_cwd,
      env = settings.cmd_env,
      on_end = function()
        on_end()
        state = "ending"
      end,
      on_exit = on_exit,
    })
    return wire
  end
  settings.on_init = function(_, result)
    on_ready(result)
  end
  local id = vim.lsp.start(settings, {
    attach = false,
    silent = true,
    reuse_client = function()
      return false
    end,
  })
  client = id and vim.lsp.get_client_by_id(id) or nil
  if not client then
    state = "stopped"
    on_absent(cmd[1])
  end
end

--- Ask the server something. Returns at once; the callback runs on the main loop, exactly once.
---@param method segue.Method
---@param params table
---@param callback fun(err?: segue.Error, result?: any)
function M.request(method, params, callback)
  local request = { method = method, params = params, callback = callback }
  if gave_up == "deaths" and recent_deaths() == 0 then
    gave_up = nil
  end
  if gave_up then
    return answer(request, fault("ServerStopped", "the server is not running; see :Segue log"))
  end
  if state == "ready" then
    return send(request)
  end
  table.insert(queue, request)
  if state == "stopped" then
    M.start()
  end
end

--- Let a server that was given up be started again: somebody asks for it.
function M.forgive()
  if gave_up == "deaths" then
    deaths = {}
    gave_up = nil
  end
end

--- Which start of the server this is: what was open in an earlier one must be opened again.
---@return integer
function M.generation()
  return generation
end

--- Whether nothing can be sent before somebody does something.
---@return boolean
function M.is_hopeless()
  return gave_up ~= nil or said_absent
end

--- Run this before the server is told to end.
---@param callback fun()
function M.before_end(callback)
  on_end = callback
end

---@class segue.ServerInfo
---@field state string
---@field pid? integer
---@field version? string
---@field deaths integer

--- How the server is.
---@return segue.ServerInfo
function M.info()
  return {
    state = gave_up and "given up" or state,
    pid = pid,
    version = info and info.version,
    deaths = recent_deaths(),
  }
end

--- Where this Neovim is: the git root of the buffer or of the working directory, else that directory.
---@return string
function M.workspace()
  local cwd = vim.uv.cwd() or vim.fn.getcwd()
  return vim.fs.root(0, ".git") or vim.fs.root(cwd, ".git") or cwd
end

return M
